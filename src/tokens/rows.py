"""Rows of visual tokens, and how tokens regroup into other rows."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

Scope = Literal["line", "row", "thumbnail", "image", "sample"]
"""A grid line, a block, a block with a whole picture (no tile), an image or video, a sample."""


@dataclass(frozen=True, slots=True)
class Row:
    """Host-side facts about a row. Counts are Python ints, so budgets need no device sync.

    Attributes:
        sample: batch element.
        image: which image or video of the sample (0-based).
        kind: "image", "frame", "thumbnail" or "tile".
        grid: (rows, columns) of the block's token grid.
        count: tokens in the row now.
        original_count: tokens in the row before any pruning.
    """

    sample: int
    image: int
    kind: str
    grid: tuple[int, int]
    count: int
    original_count: int


def rows_of_scope(
    scope: Scope, blocks: Sequence[Row], block: Tensor, cell: Tensor, valid: Tensor
) -> tuple[tuple[Row, ...], Tensor]:
    """The rows of a scope, and the one that each token goes to.

    Args:
        scope: "line", "row" (one block), "thumbnail" (one block, of those that show a whole
            picture: tiles are in no row), "image" (all blocks of an image or video) or "sample".
        blocks: facts about each block, with its tokens now.
        block: block of each token, long `[R, N]`.
        cell: row and column in the block's grid, long `[R, N, 2]`.
        valid: real tokens, bool `[R, N]`.

    Returns:
        the rows, and their number for each token, long `[R, N]`; padding, and tokens that are in no
        row, get the number after all.
    """
    if scope == "line":
        return _lines(blocks, block, cell, valid)
    rows, number = _merged(scope, blocks)
    row_of_block = _on_device([*number, 0], block.device)
    return rows, row_of_block[block].masked_fill(~valid, len(rows))


def are_rows_of(scope: Scope, blocks: Sequence[Row]) -> bool:
    """Whether each block is a row of the scope by itself, in the same order."""
    return scope != "line" and _merged(scope, blocks)[1] == list(range(len(blocks)))


def _merged(scope: Scope, blocks: Sequence[Row]) -> tuple[tuple[Row, ...], list[int]]:
    """The rows that blocks make up, and the number of each block's row (that after all: none)."""
    names: list[Hashable] = [
        {"row": i, "thumbnail": i, "image": (b.sample, b.image), "sample": b.sample}[scope]
        for i, b in enumerate(blocks)
    ]
    merged: dict[Hashable, Row] = {}
    for name, item in zip(names, blocks, strict=True):
        if scope == "thumbnail" and item.kind == "tile":
            continue
        merged[name] = _merge(merged[name], item) if name in merged else item
    number = {name: i for i, name in enumerate(merged)}
    return tuple(merged.values()), [number.get(name, len(merged)) for name in names]


def _lines(
    blocks: Sequence[Row], block: Tensor, cell: Tensor, valid: Tensor
) -> tuple[tuple[Row, ...], Tensor]:
    """One row per line of each grid; the counts are the device's, hence one sync."""
    heights = [item.grid[0] for item in blocks]
    first = [sum(heights[:i]) for i in range(len(heights))]
    line = _on_device([*first, 0], block.device)[block] + cell[..., 0]
    line = line.masked_fill(~valid, sum(heights))
    counts = torch.bincount(line.reshape(-1), minlength=sum(heights) + 1).tolist()
    rows = tuple(
        replace(item, count=counts[start + i], original_count=item.grid[1])
        for item, start in zip(blocks, first, strict=True)
        for i in range(item.grid[0])
    )
    return rows, line


def _merge(row: Row, block: Row) -> Row:
    return replace(
        row,
        count=row.count + block.count,
        original_count=row.original_count + block.original_count,
    )


def _on_device(values: Sequence[int], device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=torch.long).to(device, non_blocking=True)
