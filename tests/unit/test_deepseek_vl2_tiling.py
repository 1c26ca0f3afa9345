"""DeepSeek-VL2's tiles: candidates, choice, letterbox, token counts and pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from ivcprune.models.deepseek_vl2 import DeepseekVL2ImageProcessor
from ivcprune.models.deepseek_vl2.layout import image_blocks
from ivcprune.models.deepseek_vl2.tiling import (
    Letterbox,
    TileGeometry,
    best_grid,
    grids_of_sample,
    tile_grids,
)
from pruning_helpers import picture

GRIDS = tile_grids()
PUBLISHED = TileGeometry()
SIDES = st.integers(1, 1600)


def test_candidates_have_at_most_nine_tiles():
    assert len(GRIDS) == len(set(GRIDS)) == 23
    assert all(width * height <= 9 for width, height in GRIDS)
    assert GRIDS[:3] == [(1, 1), (1, 2), (2, 1)]


@pytest.mark.parametrize(
    ("size", "grid"),
    [
        ((300, 200), (1, 1)),  # every candidate shows all of it: the smallest wastes least
        ((384, 384), (1, 1)),
        ((385, 384), (2, 1)),
        ((640, 480), (2, 2)),
        ((480, 640), (2, 2)),
        ((1152, 384), (3, 1)),
        ((1200, 400), (4, 2)),  # 3 x 1 tiles would shrink it
        ((3000, 3000), (3, 3)),
        ((3000, 300), (8, 1)),
    ],
)
def test_most_of_the_image_then_least_waste(size, grid):
    def shown(width, height):
        scale = min(384 * width / size[0], 384 * height / size[1])
        return min(int(size[0] * scale) * int(size[1] * scale), size[0] * size[1])

    best = max(shown(*candidate) for candidate in GRIDS)
    least = min(w * h for w, h in GRIDS if shown(w, h) == best)
    chosen = best_grid(size, GRIDS, 384)
    assert (shown(*chosen), chosen[0] * chosen[1]) == (best, least)
    assert chosen == grid


@given(SIDES, SIDES)
def test_shape_of_the_grid_follows_the_image(width, height):
    chosen = best_grid((width, height), GRIDS, 384)
    turned = best_grid((height, width), GRIDS, 384)
    if chosen[0] != chosen[1]:
        assert turned == chosen[::-1]


def test_only_one_or_two_images_are_tiled():
    sizes = [(640, 480)] * 2
    assert grids_of_sample(sizes, GRIDS, 384) == [(2, 2)] * 2
    assert grids_of_sample([*sizes, (640, 480)], GRIDS, 384) == [(1, 1)] * 3


@pytest.mark.parametrize(("grid", "count"), [((1, 1), 421), ((2, 1), 617), ((3, 3), 2017)])
def test_published_numbers_of_tokens(grid, count):
    assert (PUBLISHED.side, PUBLISHED.cell_size) == (14, 28)
    assert PUBLISHED.token_count(grid) == count
    assert sum(len(b.cell) for b in image_blocks(0, 0, 0, grid, None, PUBLISHED)) == count


def test_the_number_of_tokens_tells_the_tiles():
    assert len({PUBLISHED.token_count(grid) for grid in GRIDS}) == len(GRIDS)


@given(SIDES, SIDES, st.sampled_from(GRIDS))
def test_letterbox_is_where_pil_puts_the_image(width, height, grid):
    canvas = (16 * grid[0], 16 * grid[1])
    box = Letterbox.of((width, height), canvas)
    if min(box.width, box.height) == 0:
        return  # PIL refuses: thinner than a pixel
    padded = ImageOps.pad(Image.new("L", (width, height), 255), canvas, color=0)
    rows, columns = np.nonzero(np.array(padded))
    assert (columns.min(), rows.min()) == (box.left, box.top)
    assert (columns.max() + 1 - box.left, rows.max() + 1 - box.top) == (box.width, box.height)


@pytest.mark.parametrize(
    ("size", "columns", "rows"),
    [
        ((640, 480), (0, 13), (1, 11)),
        ((400, 790), (3, 10), (0, 13)),
        ((1200, 400), (0, 13), (4, 9)),
    ],
)
def test_cells_on_the_letterbox_are_not_eligible(size, columns, rows):
    """As the golden cases have it; 640 x 480 lies on rows 48 to 336 of 384, of 28 each."""
    thumbnail = image_blocks(0, 0, 0, (1, 1), size, PUBLISHED)[0]
    row, column = thumbnail.cell.unbind(-1)
    inside = (row >= rows[0]) & (row <= rows[1]) & (column >= columns[0]) & (column <= columns[1])
    assert torch.equal(thumbnail.eligible, inside)
    assert torch.equal(thumbnail.special, column == 14)


def test_places_in_the_original_image():
    """768 x 384 fills the canvas of 2 x 1 tiles; the thumbnail shows it at half the size."""
    thumbnail, separator, tiles = image_blocks(0, 0, 7, (2, 1), (768, 384), PUBLISHED)
    assert [b.start for b in (thumbnail, separator, tiles)] == [7, 217, 218]
    assert (separator.kind, separator.special.tolist()) == ("tile", [True])
    assert separator.thumbnail_cell.tolist() == [[-1, -1]]
    xy = tiles.xy.view(14, 29, 2)
    assert xy[0, 0].tolist() == pytest.approx([14 / 768, 14 / 384])
    assert xy[0, 14].tolist() == pytest.approx([(384 + 14) / 768, 14 / 384])
    assert xy[13, 13].tolist() == pytest.approx([374 / 768, 374 / 384])  # the last cell: 364 to 384
    assert xy[:, 28].isnan().all()
    # the picture lies on rows 96 to 288 of the thumbnail: row 4 is 112 to 140
    assert thumbnail.xy.view(14, 15, 2)[4, 1].tolist() == pytest.approx([42 / 384, 30 / 192])
    assert thumbnail.eligible.view(14, 15)[:, 0].nonzero()[:, 0].tolist() == list(range(3, 11))


def test_tiles_are_shown_by_thumbnail_cells_of_the_same_canvas_index():
    tiles = image_blocks(0, 0, 0, (3, 2), (1200, 400), PUBLISHED)[2]
    shown = tiles.thumbnail_cell.view(28, 43, 2)
    assert shown[0, 0].tolist() == [0, 0]
    assert shown[5, 7].tolist() == [2, 2]
    assert shown[27, 41].tolist() == [13, 13]
    assert (shown[:, 42] == -1).all()


def test_without_sizes_the_picture_fills_the_canvas():
    for block in image_blocks(0, 0, 0, (1, 2), None, PUBLISHED):
        assert torch.equal(block.eligible, ~block.special)


def test_views_and_pixels():
    """A thumbnail, then tiles in raster order; grey bars; (x / 255 - 0.5) / 0.5."""
    image = picture(60, 20)
    processor = DeepseekVL2ImageProcessor(tile_size=20, tile_grids=[(1, 1), (3, 1), (2, 2)])
    data = processor([[image]])
    assert data["images_spatial_crop"].tolist() == [[[3, 1]]]
    assert data["image_sizes"].tolist() == [[[20, 60]]]
    views = data["pixel_values"]
    assert views.shape == (4, 3, 20, 20)
    raw = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255 * 2 - 1
    assert torch.equal(torch.cat(list(views[1:]), dim=-1), raw)
    grey = 127 / 255 * 2 - 1
    assert torch.allclose(views[0][:, :6], torch.tensor(grey))
    assert not torch.allclose(views[0][:, 7:13], torch.tensor(grey), atol=0.1)


def test_samples_without_images_have_zeros():
    processor = DeepseekVL2ImageProcessor(tile_size=20, tile_grids=[(1, 1), (2, 1)])
    samples = [[], [picture(20, 20), picture(40, 20)], [picture(9, 9)]]
    data = processor(samples)
    assert data["images_spatial_crop"].tolist() == [
        [[0, 0], [0, 0]],
        [[1, 1], [2, 1]],
        [[1, 1], [0, 0]],
    ]
    assert len(data["pixel_values"]) == 2 + 3 + 2
