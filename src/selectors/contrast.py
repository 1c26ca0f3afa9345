"""How much a token differs from its neighbours in the picture: edges, as vectors tell of them."""

from __future__ import annotations

import torch
from torch import Tensor

from ..tokens.visual import VisualTokens
from .similarity import normalised


def contrast(tokens: VisualTokens, states: Tensor) -> Tensor:
    """Mean of 1 - cosine to the present neighbours above, below, left and right.

    Neighbours are cells of one block that share a side. Newlines, separators and added tokens are
    no neighbours and have none.

    Args:
        states: one vector a token, `[R, N, E]`.

    Returns:
        in [0, 2], float32 `[R, N]`; 0 without any neighbour. Memory is linear in N.
    """
    real = tokens.valid & ~tokens.special & ~tokens.added
    vectors = normalised(states)
    total = vectors.new_zeros(tokens.shape)
    number = torch.zeros_like(total)
    for step in ((0, 1), (1, 0)):
        column, found = _neighbours(tokens, real, step)
        there = column[..., None].expand_as(vectors)
        differ = (1 - (vectors * vectors.gather(1, there)).sum(dim=-1)).where(found, 0.0)
        for value, sums in ((differ, total), (found.float(), number)):
            sums += value
            sums.scatter_add_(1, column, value)
    return total / number.clamp(min=1)


def _neighbours(tokens: VisualTokens, real: Tensor, step: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Column of the token one step on in the same block, long `[R, N]`, and whether it is there."""
    height, width = (max((b.grid[axis] for b in tokens.blocks), default=0) + 1 for axis in (0, 1))
    row, cell = tokens.cell.unbind(dim=-1)
    place = (tokens.block * height + row) * width + cell
    beyond = (len(tokens.blocks) + 1) * height * width
    place = place.masked_fill(~real, beyond)
    ordered, order = place.sort(dim=1, stable=True)
    aim = place + step[0] * width + step[1]
    at = torch.searchsorted(ordered, aim).clamp(max=max(place.shape[1] - 1, 0))
    return order.gather(1, at), (ordered.gather(1, at) == aim) & real
