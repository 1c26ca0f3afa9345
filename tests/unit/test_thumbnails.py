"""Thumbnails and tiles: what is kept of one is kept of the other."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ivcprune.models.blocks import Block, visual_tokens
from ivcprune.models.internvl.pictures import Picture, picture_blocks
from ivcprune.selectors import (
    Among,
    IVCSelector,
    Per,
    RandomSelector,
    Selector,
    ThumbnailSelector,
    ThumbnailToTiles,
    TopUp,
    Union,
    Without,
)
from ivcprune.testing import check_selector

SIDE = 4


@dataclass(frozen=True)
class Cells(Selector):
    """The cells of a grid that are named."""

    cells: tuple[tuple[int, int], ...]

    def select(self, tokens):
        wanted = torch.tensor(self.cells)
        return (tokens.cell[:, :, None] == wanted).all(dim=-1).any(dim=-1)


def blocks_of(*layouts, sample=0, start=2, side=SIDE) -> list[Block]:
    """Images with those (rows, columns) of tiles; (1, 1) has none."""
    blocks: list[Block] = []
    for image, (rows, columns) in enumerate(layouts):
        n_blocks = rows * columns + 1 if rows * columns > 1 else 1
        blocks += picture_blocks(sample, image, start, n_blocks, side, Picture((rows, columns)))
        start += n_blocks * side**2 + 1
    return blocks


def tokens_of(blocks):
    length = max(block.start + len(block.cell) for block in blocks) + 3
    n_samples = 1 + max(block.sample for block in blocks)
    positions = torch.arange(length).expand(1, n_samples, -1)
    seeds = range(n_samples)
    return visual_tokens(blocks, positions, 100.0 ** -(torch.arange(4) / 4), seeds)


def kept_cells(keep: Tensor, tokens, row: int) -> set[tuple[int, int]]:
    return set(map(tuple, tokens.cell[row][keep[row] & tokens.valid[row]].tolist()))


def test_a_cell_is_mapped_to_the_tokens_of_the_same_area():
    """1 x 2 tiles: the thumbnail's cell (3, 2) is row 3, columns 4 and 5 of 8 on the canvas."""
    tokens = tokens_of(blocks_of((1, 2)))
    keep = ThumbnailToTiles(Cells(((3, 2), (0, 1)))).select(tokens)
    assert kept_cells(keep, tokens, 0) == {(0, 2), (0, 3)}
    assert kept_cells(keep, tokens, 1) == {(3, 0), (3, 1)}
    assert kept_cells(keep, tokens, 2) == {(3, 2), (0, 1)}


def test_the_layout_decides_and_not_the_number_of_tiles():
    """2 x 1 tiles: the same cell (3, 2) is rows 6 and 7 of 8, column 2."""
    tokens = tokens_of(blocks_of((2, 1)))
    keep = ThumbnailToTiles(Cells(((3, 2),))).select(tokens)
    assert kept_cells(keep, tokens, 0) == set()
    assert kept_cells(keep, tokens, 1) == {(2, 2), (3, 2)}


@given(rows=st.integers(1, 4), columns=st.integers(1, 4), row=st.integers(0, 3), data=st.data())
def test_every_cell_shows_as_many_tokens_as_there_are_tiles(rows, columns, row, data):
    column = data.draw(st.integers(0, 3))
    tokens = tokens_of(blocks_of((rows, columns)))
    keep = ThumbnailToTiles(Cells(((row, column),))).select(tokens) & tokens.valid
    n_tiles = rows * columns if rows * columns > 1 else 0
    assert keep.sum() == 1 + n_tiles
    # and they lie within the area of that cell
    inside = (tokens.xy[keep] * SIDE).long()
    assert (inside == torch.tensor([column, row])).all()


def test_images_and_samples_do_not_see_each_other():
    blocks = [*blocks_of((1, 2), (2, 1)), *blocks_of((1, 1), (1, 3), sample=1, start=5)]
    together = tokens_of(blocks)
    keep = ThumbnailToTiles(RandomSelector(keep=5)).select(together)
    for row, block in enumerate(blocks):
        if block.kind != "tile":
            continue
        thumbnail = next(
            i
            for i, other in enumerate(blocks)
            if (other.sample, other.image, other.kind) == (block.sample, block.image, "thumbnail")
        )
        shown = together.thumbnail_cell[row][keep[row] & together.valid[row]].tolist()
        assert set(map(tuple, shown)) <= kept_cells(keep, together, thumbnail)


def test_the_choice_can_be_made_within_other_rows():
    tokens = tokens_of(blocks_of((1, 2), (1, 1)))
    selector = ThumbnailToTiles(Cells(((3, 2),)))
    for scope in ("image", "sample"):
        assert torch.equal(Per(scope, selector).select(tokens), selector.select(tokens))


def test_without_tiles_it_is_the_selector_on_each_block():
    grids = [Block.full(0, 0, kind, (3, 4), 20 * i) for i, kind in enumerate(("frame", "frame"))]
    tokens = tokens_of(grids)
    selector = RandomSelector(keep=5)
    assert torch.equal(
        ThumbnailToTiles(selector).select(tokens), Per("row", selector).select(tokens)
    )


def test_tiles_without_a_thumbnail_keep_nothing():
    tiles = blocks_of((1, 2))[:2]
    tokens = tokens_of([*tiles, Block.full(0, 1, "thumbnail", (SIDE, SIDE), 80)])
    keep = ThumbnailToTiles(Cells(((3, 2),))).select(tokens)
    assert keep.sum(dim=1).tolist() == [0, 0, 1]
    assert not ThumbnailToTiles(Cells(((3, 2),))).select(tokens_of(tiles)).any()


def test_tokens_that_no_cell_shows_are_not_taken():
    """A newline at the end of a line of tiles belongs to no cell."""
    *tiles, thumbnail = blocks_of((1, 2))
    nowhere = tiles[0].thumbnail_cell.clone()
    nowhere[::SIDE] = -1
    tokens = tokens_of([replace(tiles[0], thumbnail_cell=nowhere), tiles[1], thumbnail])
    every = tuple((row, column) for row in range(SIDE) for column in range(SIDE))
    keep = ThumbnailToTiles(Cells(every)).select(tokens)
    assert keep.sum(dim=1).tolist() == [SIDE * (SIDE - 1), SIDE**2, SIDE**2]


def test_an_unknown_layout_is_an_error_for_images_with_tiles_only():
    tiles = picture_blocks(0, 0, 2, 3, SIDE, Picture())
    with pytest.raises(ValueError, match="tiles of an image are laid out is not known"):
        ThumbnailToTiles(RandomSelector(keep=3)).select(tokens_of(tiles))
    assert tiles[0].xy.isnan().all()
    single = picture_blocks(0, 0, 2, 1, SIDE, Picture())
    assert ThumbnailToTiles(RandomSelector(keep=3)).select(tokens_of(single)).sum() == 3


def test_at_a_later_stage_only_what_is_left_is_mapped():
    tokens = tokens_of(blocks_of((1, 2)))
    left = torch.ones(tokens.shape, dtype=torch.bool)
    left[2, 14] = False  # the thumbnail's cell (3, 2)
    left[0, 2] = False  # of cell (0, 1)
    later = tokens.survivors(left, left.sum(dim=1).tolist(), tokens.slot)
    keep = ThumbnailToTiles(Cells(((3, 2), (0, 1)))).select(later)
    assert [kept_cells(keep, later, row) for row in range(3)] == [{(0, 3)}, set(), {(0, 1)}]


def test_a_thumbnail_is_what_shows_a_whole_picture():
    tokens = tokens_of(blocks_of((1, 2), (1, 1)))
    keep = ThumbnailSelector().select(tokens)
    assert tokens.kind == ["tile", "tile", "thumbnail", "thumbnail"]
    assert keep.any(dim=1).tolist() == [False, False, True, True]
    assert tokens.regroup("thumbnail").kind == ["thumbnail", "thumbnail"]
    assert torch.equal(Among(ThumbnailSelector(), RandomSelector(keep=1.0)).select(tokens), keep)


def test_without_subtracts_from_its_base():
    tokens = tokens_of(blocks_of((1, 1)))
    base, minus = Cells(((0, 0), (1, 1), (2, 2))), Cells(((1, 1), (3, 3)))
    keep = Without(minus, base=base).select(tokens)
    assert kept_cells(keep, tokens, 0) == {(0, 0), (2, 2)}


def test_a_new_total_reaches_the_foreground_of_the_thumbnail():
    ranking = TopUp(first=IVCSelector(), then=RandomSelector(keep=0.1), keep=0.5)
    mapped = ThumbnailToTiles(Without(IVCSelector(), base=ranking))
    first = Union(members={"ivc": IVCSelector(), "foreground": mapped})
    scaled = TopUp(first=first, then=RandomSelector(keep=0.1), keep=0.5).with_keep(0.25)
    assert scaled.keep == scaled.share == 0.25
    assert scaled.first.members["ivc"] == IVCSelector()
    assert scaled.first.members["foreground"].selector.base.keep == 0.25
    fixed = ThumbnailToTiles(Cells(((0, 0),)))
    assert fixed.within(0.25) == fixed


@pytest.mark.parametrize(
    "selector",
    [ThumbnailToTiles(RandomSelector(keep=0.4)), ThumbnailSelector()],
    ids=lambda selector: type(selector).__name__,
)
def test_they_keep_the_contract(selector):
    check_selector(selector)
