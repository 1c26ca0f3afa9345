"""Bounding boxes: reading them from a reply, and comparing them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from .box_text import (
    Corners,
    Finder,
    find_box,
    find_plain_box,
    published_bbox_2d,
    published_integers,
    published_list,
    published_pairs,
)

Box = tuple[float, float, float, float]
"""(x1, y1, x2, y2) in pixels of the original image."""

Size = tuple[int, int]
"""(width, height) in pixels."""

Placer = Callable[[Corners, Size, Size], Box | None]
"""(corners as written, input size, original size) -> the box; None where it cannot be one."""

BEYOND = 1.1
"""Up to where numbers are fractions, which may point a little beyond the edge of the picture."""


@dataclass(frozen=True)
class BoxFormat:
    """How a model family writes boxes.

    Attributes:
        find, place: what is read, and where it lies in the original image.
        published_find, published_place: the same to the letter of the published evaluation; of a
            family that has none, of the form that its model card shows.
    """

    place: Placer
    published_find: Finder
    published_place: Placer
    find: Finder = find_box


def parse_box(text: str, box_format: str, input_size: Size, original_size: Size) -> Box | None:
    """The first box in a model's reply, or None where there is none; never fails on a text.

    Its unit is the family's; numbers that this unit cannot explain are no box. Where none of them
    is above 1 they are fractions of the picture, but for "plain".

    Args:
        box_format: how the model family writes boxes, a key of `BOX_FORMATS`.
        input_size: of the image as the model saw it.
        original_size: of the image in the dataset, which true boxes refer to.

    Raises:
        ValueError: unknown `box_format`.
    """
    format_ = _format(box_format)
    corners = format_.find(text)
    return None if corners is None else format_.place(corners, input_size, original_size)


def published_box(text: str, box_format: str, input_size: Size, original_size: Size) -> Box | None:
    """The same to the letter of the published evaluation, where the family has one.

    Raises:
        ValueError: unknown `box_format`.
    """
    format_ = _format(box_format)
    corners = format_.published_find(text)
    return None if corners is None else format_.published_place(corners, input_size, original_size)


def check_box_format(box_format: str) -> None:
    """Raises ValueError unless `box_format` is known."""
    _format(box_format)


def _format(name: str) -> BoxFormat:
    if name not in BOX_FORMATS:
        raise ValueError(f"model.box_format is {name!r}: choose one of {sorted(BOX_FORMATS)}")
    return BOX_FORMATS[name]


def iou(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union of two boxes (x1, y1, x2, y2), without a +1 pixel offset, in [0, 1].

    A box whose corners are swapped or coincide is empty: 0.
    """
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    intersection = width * height
    union = _area(a) + _area(b) - intersection
    return intersection / max(union, 1e-6)


def _area(box: Sequence[float]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _are_fractions(corners: Corners) -> bool:
    return max(corners) <= BEYOND


def _scaled(corners: Corners, x: float, y: float) -> Box | None:
    box = (corners[0] * x, corners[1] * y, corners[2] * x, corners[3] * y)
    return box if all(map(math.isfinite, box)) else None


def _pixels(corners: Corners, input_size: Size, original_size: Size) -> Box | None:
    """Pixels of the image as the processor resized it.

    The published evaluation resizes the TRUE box instead and assumes that only rounding to
    multiples of 28 takes place; undoing the actual resize holds under pixel limits as well.
    None where its size is not known.
    """
    (width, height), (original_width, original_height) = input_size, original_size
    if not width or not height:
        return None
    return _scaled(corners, original_width / width, original_height / height)


def _fractions(corners: Corners, input_size: Size, original_size: Size) -> Box | None:
    return _scaled(corners, *original_size)


def _pixels_or_fractions(corners: Corners, input_size: Size, original_size: Size) -> Box | None:
    fractions = _are_fractions(corners)
    return (_fractions if fractions else _pixels)(corners, input_size, original_size)


def _of(units: int) -> Placer:
    """Where `units` is the far edge of the image."""

    def place(corners: Corners, input_size: Size, original_size: Size) -> Box | None:
        if max(corners) > BEYOND * units:
            return None
        by = 1 if _are_fractions(corners) else units
        return _scaled(corners, original_size[0] / by, original_size[1] / by)

    return place


def _published_of(units: int, *, or_fractions: bool = False) -> Placer:
    """As published: what lies beyond the picture is taken for pixels.

    Args:
        or_fractions: numbers whose sum is below 4 are fractions already.
    """

    def place(corners: Corners, input_size: Size, original_size: Size) -> Box | None:
        by = 1 if or_fractions and sum(corners) < 4 else units
        x1, y1, x2, y2 = (corner / by for corner in corners)
        fractions = (x1, y1, x2, y2)
        return _scaled(fractions, *original_size) if _are_fractions(fractions) else fractions

    return place


def _unit(padded: bool, *, limited: bool) -> Placer:
    """Fractions of a square around the centre of the image.

    Args:
        padded: the square is the one to which LLaVA's own code pads an image, evenly on both ends;
            else the centre square that LLaVA-1.5 is shown: its processor in transformers scales the
            shorter side and cuts off the ends of the longer one, so a target outside of the square
            cannot be answered. No published evaluation asks LLaVA-1.5 for boxes under this
            processor: the reading is inferred from what the model sees.
        limited: whether numbers far beyond 1 are no box.
    """

    def place(corners: Corners, input_size: Size, original_size: Size) -> Box | None:
        if limited and max(corners) > BEYOND:
            return None
        side = max(original_size) if padded else min(original_size)
        left, top = ((length - side) / 2 for length in original_size)
        box = _scaled(corners, side, side)
        return box and (box[0] + left, box[1] + top, box[2] + left, box[3] + top)

    return place


def _rows_first(place: Placer) -> Placer:
    """The same of corners that are written (y1, x1, y2, x2)."""

    def turned(corners: Corners, input_size: Size, original_size: Size) -> Box | None:
        y1, x1, y2, x2 = corners
        return place((x1, y1, x2, y2), input_size, original_size)

    return turned


_THOUSANDTHS = _of(1000)

BOX_FORMATS: Mapping[str, BoxFormat] = {
    # <|det|>[[102, 204, 307, 409]]<|/det|>: 999 is what the model's own parser divides by, and the
    # published evaluation divides by 1000
    "deepseek_vl2": BoxFormat(_of(999), published_list, _published_of(1000, or_fractions=True)),
    # "box_2d": [204, 102, 409, 307], y first
    "gemma4": BoxFormat(
        _rows_first(_THOUSANDTHS), published_list, _rows_first(_published_of(1000))
    ),
    # InternVL: <box>[[102, 204, 307, 409]]</box>
    "normalised_1000": BoxFormat(
        _THOUSANDTHS, published_list, _published_of(1000, or_fractions=True)
    ),
    # 14 28 98 112, in pixels of the model's input image
    "plain": BoxFormat(_pixels, published_integers, _pixels, find_plain_box),
    # "bbox_2d": [14, 28, 98, 112], in pixels of the model's input image
    "qwen2_5_vl": BoxFormat(_pixels_or_fractions, published_bbox_2d, _pixels_or_fractions),
    # <|box_start|>(102,204),(307,409)<|box_end|>
    "qwen2_vl": BoxFormat(_THOUSANDTHS, published_pairs, _published_of(1000)),
    # "bbox_2d": [102, 204, 307, 409]
    "qwen3_vl": BoxFormat(_THOUSANDTHS, published_bbox_2d, _published_of(1000)),
    "unit": BoxFormat(_unit(False, limited=True), published_list, _unit(False, limited=False)),
    "unit_padded": BoxFormat(_unit(True, limited=True), published_list, _unit(True, limited=False)),
    # [0.1, 0.2, 0.3, 0.4], in fractions of the whole image
    "unit_whole": BoxFormat(_of(1), published_list, _fractions),
}
"""How each model family writes boxes."""
