"""Where the visual tokens of an image lie: on the canvas, and in the original image."""

from __future__ import annotations

import torch
from torch import Tensor

from ..blocks import Block
from .tiling import Grid, Letterbox, TileGeometry


def image_blocks(
    sample: int,
    image: int,
    start: int,
    grid: Grid,
    size: tuple[int, int] | None,
    geometry: TileGeometry,
) -> list[Block]:
    """Thumbnail, separator and canvas of an image whose first visual token is at `start`.

    Args:
        grid: its tiles in width and height.
        size: (width, height) of the original image; None where it is not known, then it is taken
            to fill the canvas.
    """
    thumbnail = _lines("thumbnail", (sample, image, start), (1, 1), size, geometry)
    separator = start + len(thumbnail.cell)
    canvas = _lines("tile", (sample, image, separator + 1), grid, size, geometry)
    return [thumbnail, _separator(sample, image, separator), canvas]


def _separator(sample: int, image: int, start: int) -> Block:
    """The token between thumbnail and tiles.

    It is a row of its own, so that it counts in no budget of the others, and of kind "tile", so
    that nothing takes it for a picture of the whole image. It has no place in the image.
    """
    true, nowhere = torch.ones(1, dtype=torch.bool), torch.full((1, 2), -1)
    cell, xy = torch.zeros(1, 2, dtype=torch.long), torch.full((1, 2), torch.nan)
    return Block(
        sample,
        image,
        "tile",
        (1, 1),
        start,
        cell,
        xy,
        special=true,
        eligible=~true,
        thumbnail_cell=nowhere,
    )


def _lines(
    kind: str,
    where: tuple[int, int, int],
    grid: Grid,
    size: tuple[int, int] | None,
    geometry: TileGeometry,
) -> Block:
    """The lines of a canvas of tiles, each with a newline token at its end.

    A thumbnail is a canvas of one tile. Newline tokens have no place in the image.

    Args:
        where: sample, image, and index of the first token.
    """
    sample, image, start = where
    height, width = geometry.side * grid[1], geometry.side * grid[0]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width + 1), indexing="ij")
    cell = torch.stack([rows, columns], dim=-1).flatten(0, 1)
    newline = cell[:, 1] == width
    xy, on_picture = _places(cell, grid, size, geometry)
    xy[newline] = torch.nan
    shown = cell // torch.tensor([grid[1], grid[0]])
    shown[newline] = -1
    return Block(
        sample=sample,
        image=image,
        kind=kind,
        grid=(height, width + 1),
        start=start,
        cell=cell,
        xy=xy,
        special=newline,
        eligible=on_picture & ~newline,
        thumbnail_cell=shown if kind == "tile" else None,
    )


def _places(
    cell: Tensor, grid: Grid, size: tuple[int, int] | None, geometry: TileGeometry
) -> tuple[Tensor, Tensor]:
    """Centres of canvas cells in the original image `[n, 2]`, and whether they show any of it.

    The lattice of cells starts anew in every tile, whose last cells may stick out of it. Centres
    that fall on the letterbox are moved to the edge of the image.
    """
    tile_size = geometry.tile_size
    canvas = (grid[0] * tile_size, grid[1] * tile_size)
    box = Letterbox(0, 0, *canvas) if size is None else Letterbox.of(size, canvas)
    tile, place = cell.flip(-1) // geometry.side, cell.flip(-1) % geometry.side
    low = tile * tile_size + place * geometry.cell_size
    high = torch.minimum(low + geometry.cell_size, (tile + 1) * tile_size)
    corner, extent = torch.tensor([box.left, box.top]), torch.tensor([box.width, box.height])
    on_picture = ((high > corner) & (low < corner + extent)).all(dim=-1)
    centre = ((low + high) / 2 - corner) / extent
    return centre.clamp(0, 1), on_picture
