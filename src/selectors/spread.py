"""Even spreads: over a row, where no text can be asked, and over the token grid."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..tokens.visual import VisualTokens
from .base import Ranked

_BITS = 10
"""Of a row or column of a grid: more lines than any picture has."""


def score_or_spread(tokens: VisualTokens, score: Tensor, n_asking: Tensor) -> Tensor:
    """As `or_spread`, which has nothing to do where every sample is known to have text."""
    return score if tokens.all_with_text else or_spread(score, n_asking)


def or_spread(score: Tensor, n_asking: Tensor) -> Tensor:
    """The score, or an even spread over the rows for which nobody is there to ask.

    Args:
        score: float `[R, N]`.
        n_asking: number of queries of each row, `[R]`.
    """
    return torch.where(n_asking[:, None] > 0, score, _spread(score.shape[1], score.device))


def _spread(n: int, device: torch.device) -> Tensor:
    """Scores `[n]` whose best k are about evenly spaced for every k (bit-reversed order)."""
    position = torch.arange(n, device=device)
    reversed_bits = torch.zeros_like(position)
    for bit in range(max(1, n - 1).bit_length()):
        reversed_bits = reversed_bits * 2 + (position >> bit & 1)
    return -reversed_bits.float()


def every_step(mask: Tensor, n: Tensor) -> Tensor:
    """`n` tokens of a mask at equal steps, from its first one on, bool `[R, N]`.

    The step is the whole part of M / n, with M the tokens in the mask, and at least 1; what is left
    behind the last one stays without any.

    Args:
        mask: bool `[R, N]`.
        n: how many in each row, long `[R]`.
    """
    number = mask.cumsum(dim=1) - 1
    step = (mask.sum(dim=1) // n.clamp(min=1)).clamp(min=1)[:, None]
    return mask & (number % step == 0) & (number // step < n[:, None])


@dataclass(frozen=True)
class SpreadSelector(Ranked):
    """Tokens evenly spread over each token grid, whatever the picture shows.

    Formula: the order of a Bayer matrix (ordered dithering). The best k of it are about evenly
    spaced along both sides for every k: a quarter is every second token of every second line.

    Cost: none. Source: a control of ours, and a first cut that needs no signal.
    """

    keep: float | int = 0.5

    def score(self, tokens: VisualTokens) -> Tensor:
        row, column = tokens.cell.unbind(dim=-1)
        place = torch.zeros_like(row)
        for bit in range(_BITS):
            place = place * 4 + ((row ^ column) >> bit & 1) * 2 + (row >> bit & 1)
        return -place.float()
