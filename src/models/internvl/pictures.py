"""InternVL's pictures, images and frames: how they were cut into tiles, and the blocks of these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..blocks import Block


@dataclass(frozen=True, slots=True)
class Picture:
    """An image or a frame of a video.

    Attributes:
        layout: rows and columns of its tiles; None where these are not known.
        video: number of the video that it is a frame of, counted from 1; 0 for an image.
    """

    layout: tuple[int, int] | None = None
    video: int = 0


def read_pictures(
    image_sizes: Tensor | None, tile: Sequence[int], n_pictures: Sequence[int]
) -> list[list[Picture]]:
    """The pictures of each sample.

    Args:
        image_sizes: `[B, pictures, 3]`, see `InternVLImageTextProcessor`. Of a later turn of a
            conversation they also speak of the pictures of earlier turns, which come first.
        tile: height and width in pixels.
        n_pictures: pictures of each sample.

    Raises:
        ValueError: `image_sizes` speaks of other pictures.
    """
    if image_sizes is None:
        return [[Picture()] * n for n in n_pictures]
    if image_sizes.dim() != 3 or image_sizes.shape[::2] != (len(n_pictures), 3):
        raise ValueError(
            f"image_sizes has the shape {tuple(image_sizes.shape)}: expected is "
            f"[{len(n_pictures)}, pictures, 3], height and width in pixels and number of the "
            "video, as the processor that `Family.load_processor` returns makes it"
        )
    height, width = tile
    pictures = [
        [Picture((h // height, w // width), video) for h, w, video in sizes if h]
        for sizes in image_sizes.tolist()
    ]
    for sample, (known, n) in enumerate(zip(pictures, n_pictures, strict=True)):
        if len(known) < n:
            raise ValueError(
                f"sample {sample} has {n} pictures in input_ids, but {len(known)} in image_sizes: "
                "pass both as the processor returns them"
            )
    return [known[len(known) - n :] for known, n in zip(pictures, n_pictures, strict=True)]


def picture_blocks(
    sample: int, image: int, start: int, n_blocks: int, side: int, picture: Picture
) -> list[Block]:
    """The tiles of a picture in raster order, then its thumbnail, each of `side` squared tokens.

    Raises:
        ValueError: the picture has another number of tiles.
    """
    n_tiles, layout = n_blocks - 1, picture.layout
    if layout is not None and n_tiles and layout[0] * layout[1] != n_tiles:
        raise ValueError(
            f"image {image} of sample {sample} has {n_tiles} tiles in input_ids, but {layout[0]} x "
            f"{layout[1]} by image_sizes: pass both as the processor returns them"
        )
    tiles = [
        _tile(Block.full(sample, image, "tile", (side, side), start + i * side**2), i, layout)
        for i in range(n_tiles)
    ]
    kind = "frame" if picture.video else "thumbnail"
    return [*tiles, Block.full(sample, image, kind, (side, side), start + n_tiles * side**2)]


def _tile(block: Block, number: int, layout: tuple[int, int] | None) -> Block:
    """The block of a tile, with its place in the image; `number` counts tiles in raster order."""
    if layout is None:
        return replace(block, xy=torch.full_like(block.xy, torch.nan))
    size, grid = torch.tensor(layout), torch.tensor(block.grid)
    on_canvas = block.cell + grid * torch.tensor(divmod(number, layout[1]))
    return replace(
        block,
        xy=((on_canvas + 0.5) / (grid * size)).flip(-1),
        thumbnail_cell=on_canvas // size,
    )
