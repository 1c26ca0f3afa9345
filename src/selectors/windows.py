"""Window FastV: FastV's score, its budget spread over the windows of the token grid."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

import torch
from torch import Tensor

from ..checks import check_at_least, setting
from ..tokens.visual import VisualTokens
from .attention import FastVSelector
from .base import Rounding, top


@dataclass(frozen=True)
class WindowFastVSelector(FastVSelector):
    """Window FastV (Wen et al. 2025): every window of the grid keeps its share, ranked within it.

    Formula: FastV's score; a window of n tokens keeps n / N of the budget. Quotas are rounded by
    largest remainder, so each row keeps exactly its budget; among equal remainders the window with
    the better next token wins. It ranks over the row that it is given: use it per row (image, frame
    or tile).

    Cost: as FastV. Paper: arXiv 2502.11501; no author code is public. Inferred: the window's size,
    4 x 4 cells, ragged at the edges, and the rounding.

    Attributes:
        window: side of a window in cells.
    """

    _: KW_ONLY
    rounding: Rounding = "round"
    window: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(setting(self, "window"), self.window, 1)

    def select(self, tokens: VisualTokens) -> Tensor:
        candidates = tokens.eligible & tokens.valid
        score = self.score(tokens)
        budget = torch.tensor(self.budget(tokens)).to(score.device, non_blocking=True)
        most = max((n_windows(block.grid, self.window) for block in tokens.blocks), default=0)
        windows = windows_of(tokens, candidates, self.window)
        size = _count_per_window(windows, candidates, most)
        total = candidates.sum(dim=1, keepdim=True).clamp(min=1)
        quota = size * budget[:, None]
        whole, remainder = quota // total, quota % total
        rank = rank_within(windows, score)
        certain = candidates & (rank < whole)
        next_in_line = candidates & (rank == whole) & (remainder > 0)
        # by score first, then stably by remainder: the remainder decides, the score breaks ties
        place = _places(score)
        order = remainder.double() - place / (place.shape[1] + 1)
        return certain | top(order, next_in_line, budget - certain.sum(dim=1))


def windows_of(tokens: VisualTokens, candidates: Tensor, side: int) -> Tensor:
    """Window of each token, long `[R, N]`; those that cannot be taken share one more.

    Args:
        candidates: bool `[R, N]`.
        side: of a window in cells, ragged at the edges of the grid.
    """
    across = -(-tokens.grid_size[..., 1] // side)
    place = tokens.cell // side
    most = max((n_windows(block.grid, side) for block in tokens.blocks), default=0)
    return (place[..., 0] * across + place[..., 1]).masked_fill(~candidates, most)


def n_windows(grid: tuple[int, int], side: int) -> int:
    """Windows of a grid (rows, columns)."""
    height, width = grid
    return -(-height // side) * -(-width // side)


def _count_per_window(windows: Tensor, candidates: Tensor, n: int) -> Tensor:
    """Candidates in each token's window, long `[R, N]`; windows are numbered below `n`."""
    counts = windows.new_zeros(windows.shape[0], n + 1)
    counts.scatter_add_(1, windows, candidates.long())
    return counts.gather(1, windows)


def rank_within(windows: Tensor, score: Tensor) -> Tensor:
    """Number of better tokens in the same window, long `[R, N]`; ties to the lower index."""
    by_score = score.argsort(dim=1, descending=True, stable=True)
    by_window = windows.gather(1, by_score).argsort(dim=1, stable=True)
    order = by_score.gather(1, by_window)
    sorted_windows = windows.gather(1, order)
    position = torch.arange(windows.shape[1], device=windows.device).expand_as(windows)
    starts = torch.ones_like(sorted_windows, dtype=torch.bool)
    starts[:, 1:] = sorted_windows[:, 1:] != sorted_windows[:, :-1]
    first = torch.where(starts, position, 0).cummax(dim=1).values
    return torch.empty_like(order).scatter_(1, order, position - first)


def _places(score: Tensor) -> Tensor:
    """Place of each token in the order of its row, long `[R, N]`; 0 is the best."""
    order = score.argsort(dim=1, descending=True, stable=True)
    places = torch.arange(score.shape[1], device=score.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, places)
