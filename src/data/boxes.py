"""What box cells mean: pixels, fractions or thousandths of an image, and which are none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .texts import as_list, is_missing, shortened

Size = tuple[int, int]
"""(width, height) in pixels; (0, 0) where it is not known."""

Numbers = tuple[float, float, float, float]

LARGEST = 1e6
"""Pixels: a coordinate beyond it is none."""

EDGE = 0.02
"""Share of a side by which a box may reach over the edge, as annotators' boxes do; ..."""

EDGE_PIXELS = 2.0
"""... on small images, so many pixels."""


def _corners(numbers: Numbers) -> Numbers:
    return numbers


def _from_sides(numbers: Numbers) -> Numbers:
    x, y, width, height = numbers
    return x, y, x + width, y + height


_ORDERS: dict[str, Callable[[Numbers], Numbers]] = {"xyxy": _corners, "xywh": _from_sides}
_UNITS: dict[str, float] = {"": 0, "_fractions": 1, "_thousandths": 1000}

BOX_FORMATS: Mapping[str, tuple[Callable[[Numbers], Numbers], float]] = {
    order + unit: (corners, whole)
    for unit, whole in _UNITS.items()
    for order, corners in _ORDERS.items()
}
"""How a source writes boxes: what makes corners of the four numbers, and what a whole side of the
image is in them; 0 = pixels of the original image, upright."""


def to_boxes(cell: Any, box_format: str, size: Size = (0, 0)) -> list[list[float]]:
    """The boxes (x1, y1, x2, y2) of a cell, in pixels.

    Args:
        cell: four numbers, a list of such, or four numbers as text.
        box_format: a key of `BOX_FORMATS`.
        size: of the image; a box outside of it is refused.

    Raises:
        ValueError: the cell does not hold four numbers, or no box of an image of that size.
    """
    if is_missing(cell):
        return []
    numbers = cell.replace(",", " ").strip("[]() ").split() if isinstance(cell, str) else cell
    numbers = as_list(numbers)
    nested = bool(numbers) and isinstance(numbers[0], list | tuple)
    rows = numbers if nested else [numbers] if numbers else []
    corners, whole = BOX_FORMATS[box_format]
    boxes = []
    for row in rows:
        box = corners(_four(row, cell))
        if not all(-LARGEST < low <= high < LARGEST for low, high in (box[::2], box[1::2])):
            raise ValueError(f"the box {shortened(cell)} is none in pixels, as {box_format}")
        boxes.append(list(_scaled(box, whole, size, cell, box_format)))
    return boxes


def _four(row: Any, cell: Any) -> Numbers:
    try:
        if any(isinstance(number, bool) for number in row):
            raise TypeError("truth is no number")
        x, y, z, w = map(float, row)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"the box {shortened(cell)} is not four numbers") from error
    return x, y, z, w


def _scaled(box: Numbers, whole: float, size: Size, cell: Any, box_format: str) -> Sequence[float]:
    """A box in pixels, which lies in its image."""
    if not whole:
        _check_pixels(box, size, cell, box_format)
        return box
    if not all(-EDGE * whole <= coordinate <= (1 + EDGE) * whole for coordinate in box):
        raise ValueError(f"the box {shortened(cell)} is not within its image, as {box_format}")
    if 0 in size:
        raise ValueError(f"the box {shortened(cell)} is a share of an image that cannot be read")
    sides = (*size, *size)
    return [coordinate / whole * side for coordinate, side in zip(box, sides, strict=True)]


def _check_pixels(box: Numbers, size: Size, cell: Any, box_format: str) -> None:
    x1, y1, x2, y2 = box
    if x1 < x2 and y1 < y2 and all(0 <= coordinate <= 1 for coordinate in box):
        raise ValueError(
            f"the box {shortened(cell)} is smaller than a pixel, so it may be written in fractions "
            f"of the image: data.box_format={box_format}_fractions reads those"
        )
    if 0 in size:
        return
    for low, high, side in ((x1, x2, size[0]), (y1, y2, size[1])):
        over = max(EDGE * side, EDGE_PIXELS)
        if low < -over or high > side + over:
            raise ValueError(
                f"the box {shortened(cell)} lies outside its image of {size[0]} x {size[1]} pixels,"
                f" as {box_format}"
            )
