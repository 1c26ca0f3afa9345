"""FEATHER: attention without its positional bias, united with an even grid."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

from torch import Tensor

from ..checks import check_at_least, setting
from ..tokens.signals import Signal
from ..tokens.visual import VisualTokens
from .base import Ranked, Rounding, Selector


@dataclass(frozen=True)
class FeatherSelector(Ranked):
    """FEATHER's criterion: attention of the last token in the layer that just ran, without RoPE.

    Formula: head mean of softmax(q . k / sqrt(d)) over the visual tokens of the row alone, q and k
    unrotated, so that the distance to the text plays no part.

    Cost: one query row, and the keys of one layer projected once more. The policy unites it with
    `GridSelector` at its first stage, and keeps int(n share^2) of the n tokens that are left at its
    second one. Paper: arXiv 2412.13180. Exact against the authors' code (markendo/FEATHER,
    c2a09b2) in kept tokens and prefill.
    """

    keep: float | int = 0.3
    _: KW_ONLY
    rounding: Rounding = "float_floor"

    needs = frozenset({Signal.ATTENTION_PREVIOUS})

    def score(self, tokens: VisualTokens) -> Tensor:
        return tokens.attention(layer="previous", rope=False, over="image")[:, 0]


@dataclass(frozen=True)
class GridSelector(Selector):
    """Every `stride`-th token of every `stride`-th line of each grid, from the first one on.

    Cost: none. Source: the uniform sampling of FEATHER (arXiv 2412.13180), stride 3; exact against
    its code (markendo/FEATHER, c2a09b2).

    Attributes:
        stride: distance between kept tokens, in cells.
    """

    stride: int = 3

    def __post_init__(self) -> None:
        check_at_least(setting(self, "stride"), self.stride, 1)

    def select(self, tokens: VisualTokens) -> Tensor:
        on_grid = (tokens.cell % self.stride == 0).all(dim=-1)
        return on_grid & tokens.eligible & tokens.valid
