"""Baselines that rank by the attention of the last prompt token: FastV and PyramidDrop."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

from torch import Tensor

from ..tokens import Signal, VisualTokens
from .base import Ranked, Rounding


@dataclass(frozen=True)
class FastVSelector(Ranked):
    """FastV (Chen et al. 2024): attention of the last token in the layer that just ran.

    The row is a softmax over all keys, head mean, exactly the eager model's weights. `keep` is what
    stays, so the paper's R = 50 % fraction pruned is `keep=0.5`, its R = 75 % is `keep=0.25`.
    """

    keep: float | int = 0.5

    needs = frozenset({Signal.ATTENTION_PREVIOUS})

    def score(self, tokens: VisualTokens) -> Tensor:
        return tokens.attention(layer="previous")[:, 0]


@dataclass(frozen=True)
class PDropSelector(Ranked):
    """PyramidDrop (Xing et al. 2025): attention of the last token in the layer about to run.

    Its queries and keys are projected for the score only. `keep` is the cumulative share of the
    original tokens, cut to an integer as in the official code.
    """

    keep: float | int = 0.5
    _: KW_ONLY
    rounding: Rounding = "floor"

    needs = frozenset({Signal.ATTENTION_NEXT})

    def score(self, tokens: VisualTokens) -> Tensor:
        return tokens.attention(layer="next")[:, 0]
