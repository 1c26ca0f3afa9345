"""DyCoke, first stage: of two neighbouring frames, one loses what the other shows too."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..checks import check_fraction, setting
from ..tokens.rows import Row
from ..tokens.signals import Signal
from ..tokens.visual import VisualTokens
from .base import Selector
from .frames import Frames, frame_numbers
from .similarity import normalised
from .windows import rank_within


@dataclass(frozen=True)
class DyCokeSelector(Selector):
    """DyCoke (Tao et al. 2025), temporal merging: frames lose what resembles their predecessor.

    Formula: of frames of n tokens, every second one keeps the int((1 - merging) * n) tokens whose
    cosine to the token in the same cell of the frame before it is smallest. Then, four frames at a
    time as long as a fifth one follows, the third is compared with the first in the same way. The
    vectors are inputs of the language model. "Merging" drops: what stays is not changed. Images and
    videos of one frame keep everything.

    Cost: one cosine per token; below 5 ms at 1,024 tokens on one core. Paper: arXiv 2411.15024.
    Exact against the authors' code (github.com/KD-TAO/DyCoke, dd74634) for an even number of more
    than 4 frames. Different: the official code drops the last of an odd number of frames and fails
    for 4 or fewer; here it stays whole, and pairs alone are compared. Its second stage, which
    prunes the cache while it decodes, is not part of this.

    Attributes:
        merging: share of a frame's tokens that goes; K of the paper, 0.7.
    """

    merging: float = 0.7

    needs = frozenset({Signal.EMBEDDINGS})

    def __post_init__(self) -> None:
        check_fraction(setting(self, "merging"), self.merging)

    def select(self, tokens: VisualTokens) -> Tensor:
        videos = tokens.regroup("image")
        return videos.to_parent(self._select(videos))

    def _select(self, tokens: VisualTokens) -> Tensor:
        """The same for rows that each are an image or a video."""
        frames = Frames.of(tokens)
        before = _compared_with(frames.number, frames.total)
        columns, found = frames.columns_in(before)
        vectors = normalised(tokens.embeddings())
        rows = torch.arange(len(columns), device=columns.device)[:, None]
        cosine = (vectors * vectors[rows, columns]).sum(dim=2)
        # a token that an earlier stage has taken the partner of is like nothing
        newness = (-cosine).masked_fill(~found, torch.inf)
        most = torch.tensor([*(self._kept(row) for row in tokens.blocks), 0])
        most = most.to(tokens.device, non_blocking=True)
        if tokens.reserved is not None:
            newness = newness.masked_fill(tokens.reserved, -torch.inf)
            taken = (tokens.reserved & tokens.valid).long().flatten()
            most = most.index_add(0, tokens.block.flatten(), taken, alpha=-1)
        most = most[tokens.block]
        frame = frames.number.masked_fill(before < 0, max(frames.totals, default=0))
        stays = (before < 0) | (rank_within(frame, newness) < most)
        return stays & (tokens.eligible | tokens.special) & tokens.valid

    @property
    def leaves_room(self) -> bool:
        return True

    def _kept(self, frame: Row) -> int:
        return int((1 - self.merging) * frame.original_count)

    def sizes(self, tokens: VisualTokens) -> list[int] | None:
        if not tokens.all_alike or tokens.rows is not tokens.blocks:
            return None
        numbers, totals = frame_numbers(tokens.blocks)
        return [
            row.count if _before(number, total) < 0 else min(self._kept(row), row.count)
            for row, number, total in zip(tokens.rows, numbers, totals, strict=True)
        ]


def _before(number: int, total: int) -> int:
    """The frame that a frame of a video is compared with, -1 for none."""
    if number % 2 == 1:
        return number - 1
    return number - 2 if number % 4 == 2 and number + 2 < total else -1


def _compared_with(number: Tensor, total: Tensor) -> Tensor:
    """As `_before`, of each token, long `[R, N]`; tokens of no frame are numbered -1."""
    is_third = (number % 4 == 2) & (number + 2 < total)
    before = torch.where(number % 2 == 1, number - 1, (number - 2).masked_fill(~is_third, -1))
    return before.masked_fill(number < 0, -1)
