"""Pictures as a view of the whole and, line by line, one unpadded area that was cut into tiles."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from transformers.models.llava_next.modeling_llava_next import (
    get_anyres_image_grid_shape,
    unpad_image,
)

from .blocks import Block

Layout = list[Block]
"""The blocks of one image or video, in order, wherever it stands: sample, image, start are 0."""


def assign(
    places: list[list[int]], layouts: Iterator[Layout], name: str
) -> Iterator[tuple[int, int, Layout]]:
    """Sample, first slot and blocks of each image or video.

    Args:
        places: (sample, slot) of all tokens of that kind, ascending.
        layouts: of the images or videos in the same order.
        name: what they are, for the message.

    Raises:
        ValueError: the tokens are not those of these images.
    """
    i = 0
    while i < len(places):
        layout = next(layouts, None)
        n = sum(len(block.cell) for block in layout) if layout else 0
        sample, start = places[i]
        if not n or i + n > len(places) or places[i + n - 1] != [sample, start + n - 1]:
            raise ValueError(
                f"the {name} tokens of sample {sample} from {start} on do not fit the sizes of the "
                f"{name}s: pass input_ids and {name}s as the processor returns them"
            )
        yield sample, start, layout or []
        i += n


def area_of_features(core: Any, features: Tensor, side: int) -> tuple[int, int] | None:
    """(h, w) of an image's tiles, None without tiles: newline tokens are all the same vector."""
    rest = features[side * side :]
    if not len(rest):
        return 0, 0
    newline = core.image_newline.to(rest.device, rest.dtype)
    width = int((rest == newline).all(dim=-1).int().argmax())
    is_separator = len(rest) == 1
    return None if is_separator else (len(rest) // (width + 1), width)


def area_of_size(config: Any, size: list[int], side: int) -> tuple[int, int]:
    """(h, w) of an image's tiles without their padding, from its (height, width)."""
    rows, columns = get_anyres_image_grid_shape(
        size, config.image_grid_pinpoints, config.vision_config.image_size
    )
    canvas = torch.empty(1, rows * side, columns * side, device="meta")
    height, width = unpad_image(canvas, size).shape[1:]
    return height, width


def view(kind: str, side: int) -> Block:
    """A square of side x side tokens that shows a whole picture."""
    return Block.full(0, 0, kind, (side, side), 0)


def with_tiles(side: int, height: int, width: int) -> Layout:
    """Thumbnail and tiles of an image that is alone in its sample.

    Of a picture less than a token high nothing is left of the tiles, of one less than a token wide
    only the newlines.
    """
    if not height:
        return [view("thumbnail", side)]
    tiles = Block.full(0, 0, "tile", (height, width + 1), 0)
    special = tiles.cell[:, 1] == width
    columns = max(1, width)
    xy = torch.stack([tiles.xy[:, 0] * (width + 1) / columns, tiles.xy[:, 1]], dim=-1)
    cell = tiles.cell * side // torch.tensor([height, columns])
    tiles = replace(
        tiles,
        xy=xy.clamp(max=1),
        special=special,
        eligible=~special,
        thumbnail_cell=cell.masked_fill(special[:, None], -1),
    )
    return [view("thumbnail", side), tiles]
