"""An even spread over a row: the choice where no text can be asked."""

from __future__ import annotations

import torch
from torch import Tensor

from ..tokens import VisualTokens


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
