"""Which visual tokens of an image were kept, drawn on the image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from PIL.Image import Image as PILImage

from ..models.areas import WHOLE

TRUE_COLOUR = (0, 158, 96)
PREDICTED_COLOUR = (220, 38, 38)
DROPPED_GREY = 208
LATTICE_GREY = 140
GREY_SHARE = 0.72

Box = Sequence[float]


def draw_overlay(image: PILImage, entry: dict[str, Any], side: int = 360) -> PILImage:
    """`image` with dropped tokens dimmed to grey, the true box in green, the predicted one in red.

    Args:
        image: the original image.
        entry: of `tokens.json`: `maps`, `true_box` and `predicted_box` (x1, y1, x2, y2 in pixels of
            the original image, or None), and `area`, what the maps show of the image.
        side: the longer side of the result in pixels.
    """
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    result = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    if (keep := _kept_cells(entry["maps"])) is not None:
        result = dim_dropped(result, keep, entry.get("area", WHOLE))
    draw = ImageDraw.Draw(result)
    _draw_box(draw, entry["true_box"], scale, TRUE_COLOUR, width=5)
    _draw_box(draw, entry["predicted_box"], scale, PREDICTED_COLOUR, width=3)
    return result


def dim_dropped(
    image: PILImage, keep: np.ndarray[Any, np.dtype[np.bool_]], area: Sequence[float] = WHOLE
) -> PILImage:
    """`image` with the cells of the token grid that are False in `keep` ([h, w]) turned to grey.

    Args:
        area: what the grid shows of the image, see `Family.visible_area`; the rest turns grey too.
    """
    grey = Image.new("RGB", image.size, (DROPPED_GREY,) * 3)
    dimmed = Image.blend(image.convert("L").convert("RGB"), grey, GREY_SHARE)
    left, top, right, bottom = (
        round(place * side) for place, side in zip(area, image.size * 2, strict=True)
    )
    _draw_lattice(ImageDraw.Draw(dimmed), keep.shape, (left, top, right, bottom))
    cells = Image.fromarray(keep.astype(np.uint8) * 255)
    mask = Image.new("L", image.size)
    shape = (right - left, bottom - top)
    mask.paste(cells.resize(shape, Image.Resampling.NEAREST), (left, top))
    return Image.composite(image, dimmed, mask)


def _kept_cells(maps: list[dict[str, Any]]) -> np.ndarray[Any, np.dtype[np.bool_]] | None:
    """The token grid of the first image; None where nothing was pruned from it.

    Of an image that is cut into tiles, the thumbnail shows all of it.
    """
    of_image = [entry for entry in maps if entry["image"] == 0]
    whole = [entry for entry in of_image if entry["kind"] != "tile"]
    first = next(iter(whole or of_image), None)
    return None if first is None else np.array(first["keep"], dtype=bool)


def _draw_lattice(
    draw: ImageDraw.ImageDraw, grid: tuple[int, ...], area: tuple[int, int, int, int]
) -> None:
    """Lines between the cells of the token grid: they tell dropped tokens from grey scenery."""
    (rows, columns), (left, top, right, bottom) = grid, area
    for row in range(1, rows):
        y = top + row * (bottom - top) / rows
        draw.line((left, y, right, y), fill=(LATTICE_GREY,) * 3)
    for column in range(1, columns):
        x = left + column * (right - left) / columns
        draw.line((x, top, x, bottom), fill=(LATTICE_GREY,) * 3)


def _draw_box(
    draw: ImageDraw.ImageDraw, box: Box | None, scale: float, colour: tuple[int, ...], width: int
) -> None:
    """A frame with a thin white casing, so that it shows on any background."""
    if box is None:
        return
    left, right = sorted((box[0] * scale, box[2] * scale))
    top, bottom = sorted((box[1] * scale, box[3] * scale))
    draw.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline="white", width=width + 2)
    draw.rectangle((left, top, right, bottom), outline=colour, width=width)
