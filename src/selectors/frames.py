"""Videos as frames: which frame of its video a token is in, and the same place in another frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..tokens.rows import Row
from ..tokens.visual import VisualTokens


@dataclass(frozen=True, eq=False)
class Frames:
    """The frames of the videos in rows that each are an image or a video.

    Attributes:
        numbers: of each block among the frames of its video, -1 for blocks that are no frame.
        totals: frames of the video that each block belongs to.
        size: most cells of a grid.
        number, total: the same of each token, long `[R, N]`.
        place: number of the token's cell in its grid, row by row, long `[R, N]`.
    """

    numbers: list[int]
    totals: list[int]
    size: int
    number: Tensor
    total: Tensor
    place: Tensor

    @classmethod
    def of(cls, tokens: VisualTokens) -> Frames:
        """The frames of these tokens; separators between videos are none."""
        numbers, totals = frame_numbers(tokens.blocks)
        table = torch.tensor([[*numbers, -1], [*totals, 0]]).to(tokens.device, non_blocking=True)
        place = tokens.cell[..., 0] * tokens.grid_size[..., 1] + tokens.cell[..., 1]
        number = table[0, tokens.block].masked_fill(~tokens.valid | tokens.special, -1)
        size = max((block.grid[0] * block.grid[1] for block in tokens.blocks), default=0)
        return cls(numbers, totals, size, number, table[1, tokens.block], place)

    def columns_in(self, other: Tensor) -> tuple[Tensor, Tensor]:
        """Columns of the tokens at the same place of another frame, long, and bool `[R, N]`.

        Args:
            other: number of the other frame for each token, long `[R, N]`; -1 for none.

        Returns:
            the columns (0 where there is none), and where there is such a token.
        """
        n_rows, width = self.number.shape
        size = self.size
        nowhere = max(self.totals, default=0) * size
        table = torch.full((n_rows, nowhere + 1), width, device=self.place.device)
        target = (self.number * size + self.place).masked_fill(self.number < 0, nowhere)
        column = torch.arange(width, device=table.device).expand_as(target)
        table.scatter_(1, target, column)
        table[:, nowhere] = width
        found = table.gather(1, (other * size + self.place).masked_fill(other < 0, nowhere))
        return found.masked_fill(found == width, 0), found < width


def frame_numbers(blocks: Sequence[Row]) -> tuple[list[int], list[int]]:
    """Number of each block among the frames of its video (-1: it is none), and their total."""
    videos: dict[tuple[int, int], Row] = {}
    seen: dict[tuple[int, int], int] = {}
    numbers = []
    for block in blocks:
        name = (block.sample, block.image)
        first = videos.setdefault(name, block)
        is_frame = block.kind == "frame" and block.grid == first.grid
        numbers.append(seen.get(name, 0) if is_frame else -1)
        seen[name] = seen.get(name, 0) + is_frame
    return numbers, [seen[block.sample, block.image] for block in blocks]
