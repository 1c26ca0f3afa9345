"""Bounding boxes: reading them from a reply, and comparing them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence

Box = tuple[float, float, float, float]
"""(x1, y1, x2, y2) in pixels of the original image."""

Size = tuple[int, int]
"""(width, height) in pixels."""

_INTEGER = re.compile(r"-?[0-9]+")
_BBOX_2D = re.compile(
    r'"bbox_2d"\s*:\s*\[\s*(-?[0-9]+)\s*,\s*(-?[0-9]+)\s*,\s*(-?[0-9]+)\s*,\s*(-?[0-9]+)\s*\]'
)


def parse_box(text: str, box_format: str, input_size: Size, original_size: Size) -> Box | None:
    """The first box in a model's reply, or None where there is none; never fails on a text.

    Args:
        box_format: how the model family writes boxes, a key of `BOX_FORMATS`.
        input_size: of the image as the model saw it.
        original_size: of the image in the dataset, which true boxes refer to.

    Raises:
        ValueError: unknown `box_format`.
    """
    check_box_format(box_format)
    return BOX_FORMATS[box_format](text, input_size, original_size)


def check_box_format(box_format: str) -> None:
    """Raises ValueError unless `box_format` is known."""
    if box_format not in BOX_FORMATS:
        raise ValueError(f"model.box_format is {box_format!r}: choose one of {sorted(BOX_FORMATS)}")


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


def _plain(text: str, input_size: Size, original_size: Size) -> Box | None:
    """The first four integers, in pixels of the model's input image: `14 28 98 112`."""
    return _rescale(_INTEGER.findall(text)[:4], input_size, original_size)


def _qwen2_5_vl(text: str, input_size: Size, original_size: Size) -> Box | None:
    """`"bbox_2d": [14, 28, 98, 112]`, in pixels of the image as the processor resized it.

    The published evaluation resizes the TRUE box instead and assumes that only rounding to
    multiples of 28 takes place; undoing the actual resize holds under pixel limits as well.
    """
    match = _BBOX_2D.search(text)
    return _rescale(match.groups() if match else (), input_size, original_size)


def _rescale(numbers: Sequence[str], input_size: Size, original_size: Size) -> Box | None:
    if len(numbers) < 4:
        return None
    # float, not int: int() refuses strings of several thousand digits.
    x1, y1, x2, y2 = (float(number) for number in numbers)
    (width, height), (original_width, original_height) = input_size, original_size
    box = (
        x1 * original_width / width,
        y1 * original_height / height,
        x2 * original_width / width,
        y2 * original_height / height,
    )
    return box if all(map(math.isfinite, box)) else None


BOX_FORMATS: dict[str, Callable[[str, Size, Size], Box | None]] = {
    "plain": _plain,
    "qwen2_5_vl": _qwen2_5_vl,
}
"""How each model family writes boxes: (reply, input size, original size) -> box."""
