"""Baselines that rank by the attention of the last prompt token: FastV and PyramidDrop."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

from torch import Tensor

from ..tokens.signals import Signal
from ..tokens.visual import VisualTokens
from .base import Ranked, Rounding


@dataclass(frozen=True)
class FastVSelector(Ranked):
    """FastV (Chen et al. 2024): attention of the last token in the layer that just ran.

    Formula: the row of softmax(q . k / sqrt(d)) over all keys, head mean, exactly the eager model's
    weights; round(N (1 - R)) tokens stay. `keep` is what stays, so the paper's R = 50 % fraction
    pruned is `keep=0.5`, its R = 75 % is `keep=0.25`.

    Cost: one query row and all keys of one layer. Paper: arXiv 2403.06764. Exact against the
    authors' code (pkunlp-icler/FastV, d165972, its variant that prunes once, in the prefill).
    """

    keep: float | int = 0.5
    _: KW_ONLY
    rounding: Rounding = "float_round"

    needs = frozenset({Signal.ATTENTION_PREVIOUS})

    def score(self, tokens: VisualTokens) -> Tensor:
        return tokens.attention(layer="previous")[:, 0]


@dataclass(frozen=True)
class PDropSelector(Ranked):
    """PyramidDrop (Xing et al. 2025): attention of the last token in the layer about to run.

    Formula: FastV's, but of the layer that the stage enters: its queries and keys are projected for
    the score only. `keep` is the cumulative share of the original tokens (`of: current` makes it a
    share of what is left, as in VScan), cut to an integer as in the authors' code: int(N share).

    Cost: one query row and all keys of one layer. Paper: arXiv 2410.17247. Exact against the
    authors' code (Cooperx521/PyramidDrop, 6444f30), which numbers positions anew: on LLaVA the
    policy does so too. On families with several rotary axes, where that is not defined, positions
    are kept (deviation).

    Attributes:
        rope: whether queries and keys are rotated; VScan's second stage on Qwen scores without.
    """

    keep: float | int = 0.5
    _: KW_ONLY
    rounding: Rounding = "float_floor"
    rope: bool = True

    needs = frozenset({Signal.ATTENTION_NEXT})

    def score(self, tokens: VisualTokens) -> Tensor:
        return tokens.attention(layer="next", rope=self.rope)[:, 0]
