"""How DeepSeek-VL2 cuts an image into tiles, and where the image lies on its canvas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MAX_TILES = 9
MAX_TILED_IMAGES = 2
"""Samples with more images get one tile for each (arXiv:2412.10302, section 2.1)."""

Grid = tuple[int, int]
"""Tiles in width and in height, in this order, as published."""


def tile_grids(max_tiles: int = MAX_TILES) -> list[Grid]:
    """All grids of at most `max_tiles` tiles, small ones first (23 of them up to 9 tiles)."""
    sides = range(1, max_tiles + 1)
    grids = [(w, h) for w in sides for h in sides if w * h <= max_tiles]
    return sorted(grids, key=lambda grid: (grid[0] * grid[1], grid))


def best_grid(size: tuple[int, int], grids: Sequence[Grid], tile: int) -> Grid:
    """The grid that shows most of the image, and among those the one that wastes least.

    Args:
        size: (width, height) of the image.
        grids: candidates; the first wins ties.
        tile: side of a tile in pixels.
    """
    width, height = size

    def merit(grid: Grid) -> tuple[int, int]:
        canvas = (grid[0] * tile, grid[1] * tile)
        scale = min(canvas[0] / width, canvas[1] / height)
        shown = min(int(width * scale) * int(height * scale), width * height)
        return shown, shown - canvas[0] * canvas[1]

    return max(grids, key=merit)


def grids_of_sample(
    sizes: Sequence[tuple[int, int]], grids: Sequence[Grid], tile: int
) -> list[Grid]:
    """The tile grid of each image of one sample, whose (width, height) are `sizes`."""
    if len(sizes) > MAX_TILED_IMAGES:
        return [(1, 1)] * len(sizes)
    return [best_grid(size, grids, tile) for size in sizes]


@dataclass(frozen=True)
class TileGeometry:
    """Sizes of a tile; the defaults are the published ones.

    Attributes:
        tile_size: side in pixels.
        patch_size: side of a patch in pixels; what fills no patch at the right and bottom is lost.
        downsample_ratio: patches that a visual token merges along each side.
    """

    tile_size: int = 384
    patch_size: int = 14
    downsample_ratio: int = 2

    @property
    def cell_size(self) -> int:
        """Side of the square of pixels that a visual token stands for."""
        return self.patch_size * self.downsample_ratio

    @property
    def side(self) -> int:
        """Visual tokens along one side; patches are padded to fill the last one."""
        return -(-(self.tile_size // self.patch_size) // self.downsample_ratio)

    def token_count(self, grid: Grid) -> int:
        """Visual tokens of an image: thumbnail, separator, tiles, a newline after every line."""
        width, height = grid
        thumbnail = self.side * (self.side + 1)
        return thumbnail + 1 + self.side * height * (self.side * width + 1)


@dataclass(frozen=True)
class Letterbox:
    """Where a resized image lies on a canvas: left and top edge, width and height, in pixels."""

    left: int
    top: int
    width: int
    height: int

    @classmethod
    def of(cls, size: tuple[int, int], canvas: tuple[int, int]) -> Letterbox:
        """The place that `PIL.ImageOps.pad` gives an image of `size` (width, height) each."""
        width, height = canvas
        if size[0] * height > size[1] * width:
            height = round(size[1] / size[0] * width)
        else:
            width = round(size[0] / size[1] * height)
        return cls(round((canvas[0] - width) / 2), round((canvas[1] - height) / 2), width, height)
