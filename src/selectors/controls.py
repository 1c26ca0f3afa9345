"""Position-only controls: does a coordinate set do better than simple places of the same size?"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

from torch import Tensor

from ..tokens.visual import VisualTokens
from .base import Ranked
from .random import uniform_per_token


@dataclass(frozen=True)
class FirstTokenSelector(Ranked):
    """The first tokens of each row in input order.

    Cost: none. Source: a control of ours.
    """

    keep: float | int = 1

    def score(self, tokens: VisualTokens) -> Tensor:
        return -tokens.index.float()


@dataclass(frozen=True)
class BorderSelector(Ranked):
    """Tokens on the border of the image, then the next ring, and so on.

    Formula: by the number of the ring. Within a ring the order is random (reproducible per sample),
    so that a small budget is spread around the image instead of filling its first line.

    Cost: none. Source: a control of ours.
    """

    keep: float | int = 0.1
    _: KW_ONLY
    seed: int = 0

    def score(self, tokens: VisualTokens) -> Tensor:
        to_far_edge = tokens.grid_size - 1 - tokens.cell
        ring = tokens.cell.minimum(to_far_edge).amin(dim=-1)
        return uniform_per_token(tokens, self.seed) - ring
