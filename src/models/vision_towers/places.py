"""Which visual token of a prefill is which token of the vision tower."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, islice

import torch
from torch import Tensor

from ...tokens.rows import Row


@dataclass(frozen=True)
class Layout:
    """Which pictures of the tower the rows of visual tokens show: here one each, in its order.

    Attributes:
        apart: videos are encoded in a call of their own after the images, not among them.
    """

    apart: bool = False

    def kinds(self, rows: Sequence[Row]) -> list[bool]:
        """What each call of the tower encoded, in order: whether it was frames of videos."""
        return sorted({self.kind(row) for row in rows})

    def kind(self, row: Row) -> bool:
        return self.apart and row.kind == "frame"

    def pictures(self, row: Row) -> int:
        """Number of pictures that a row shows."""
        return 1

    def tokens(self, row: Row, pictures: Sequence[range]) -> Sequence[int | None]:
        """The tower's token for each token of a row; None for tokens that no picture has.

        Args:
            pictures: the tower's tokens of each picture of the row, or of fewer where the tower
                encoded too few.
        """
        return list(chain(*pictures))


@dataclass(frozen=True)
class CanvasLayout(Layout):
    """A row shows a canvas of square tiles, line by line, with a newline token after each line.

    Attributes:
        side: visual tokens along one side of a tile. Smaller rows (separators) show nothing.
    """

    side: int = 1

    def _tiles(self, row: Row) -> tuple[int, int]:
        height, width = row.grid
        return height // self.side, (width - 1) // self.side

    def pictures(self, row: Row) -> int:
        rows, columns = self._tiles(row)
        return rows * columns

    def tokens(self, row: Row, pictures: Sequence[range]) -> Sequence[int | None]:
        n, (rows, columns) = self.side, self._tiles(row)
        if [len(picture) for picture in pictures] != [n * n] * (rows * columns):
            return []
        if not pictures:
            return [None] * row.original_count
        found: list[int | None] = []
        for line in range(rows * n):
            tiles = pictures[line // n * columns :][:columns]
            found += chain(*(tile[line % n * n :][:n] for tile in tiles))
            found.append(None)
        return found


def places(rows: Sequence[Row], counts: Sequence[Sequence[int]], layout: Layout) -> Tensor:
    """Where the tower has each visual token of each sample.

    Pictures were encoded sample by sample. Where the rows show k times as many pictures, the
    sequences were repeated afterwards (beams, several answers), each k times in a row.

    Args:
        rows: of the prefill's visual tokens, in input order within each sample.
        counts: tokens of each picture, call by call as in `Layout.kinds`.

    Returns:
        long `[B, M]` into the tokens of all calls one behind the other; B goes up to the last
        sample with visual tokens, M is the most that a sample has. Padding, and tokens that
        no picture has, are the number of all tokens.

    Raises:
        ValueError: these are other pictures than those encoded.
    """
    found = _tokens_of_samples(rows, counts, layout)
    if found is None:
        raise ValueError(
            f"the prefill shows pictures of {[row.original_count for row in rows]} visual tokens, "
            f"but the vision tower encoded pictures of {[list(c) for c in counts]}: let one call "
            "of the model encode exactly the pictures that its input_ids speak of"
        )
    width = max(sum(map(len, sample)) for sample in found)
    nowhere = sum(map(sum, counts))
    table = torch.full((len(found), width), nowhere)
    for line, sample in zip(table, found, strict=True):
        tokens = [nowhere if i is None else i for i in chain(*sample)]
        line[: len(tokens)] = torch.tensor(tokens, dtype=torch.long)
    return table


def _tokens_of_samples(
    rows: Sequence[Row], counts: Sequence[Sequence[int]], layout: Layout
) -> list[list[Sequence[int | None]]] | None:
    """The tower's tokens for each row of each sample; None where they do not fit."""
    samples: list[list[Row]] = [[] for _ in range(max(row.sample for row in rows) + 1)]
    for row in rows:
        samples[row.sample].append(row)
    kinds, queues = layout.kinds(rows), [iter(call) for call in [*_pictures(counts), []]]
    copies = max(1, sum(map(layout.pictures, rows)) // max(1, sum(map(len, counts))))
    found: list[list[Sequence[int | None]]] = []
    for number, sample in enumerate(samples):
        if number % copies == 0:
            shown: list[Sequence[int | None]] = []
            for row in sample:
                queue = queues[kinds.index(layout.kind(row))]
                shown.append(layout.tokens(row, list(islice(queue, layout.pictures(row)))))
        if [len(tokens) for tokens in shown] != [row.original_count for row in sample]:
            return None
        found.append(shown)
    return None if any(True for queue in queues for _ in queue) else found


def _pictures(counts: Sequence[Sequence[int]]) -> list[list[range]]:
    """The tokens of each picture among those of all calls, call by call."""
    pictures: list[list[range]] = []
    end = 0
    for of_call in counts:
        pictures.append([])
        for n in of_call:
            pictures[-1].append(range(end, end + n))
            end += n
    return pictures
