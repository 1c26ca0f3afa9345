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
_DIGITS = r"\s*(-?[0-9]+)\s*"
_NUMBER = r"\s*(-?[0-9]+(?:\.[0-9]+)?)\s*"
_LIST = re.compile(rf"\[{','.join([_NUMBER] * 4)}\]")
_BBOX_2D = re.compile(rf'"bbox_2d"\s*:\s*\[{",".join([_DIGITS] * 4)}\]')
_CORNERS = re.compile(rf"\({_DIGITS},{_DIGITS}\)\s*,\s*\({_DIGITS},{_DIGITS}\)")


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
    return _rescale(_groups(_BBOX_2D, text), input_size, original_size)


def _qwen2_vl(text: str, input_size: Size, original_size: Size) -> Box | None:
    """`<|box_start|>(102,204),(307,409)<|box_end|>`, in thousandths of the image."""
    return _rescale(_groups(_CORNERS, text), (1000, 1000), original_size)


def _qwen3_vl(text: str, input_size: Size, original_size: Size) -> Box | None:
    """`"bbox_2d": [102, 204, 307, 409]`, in thousandths of the image."""
    return _rescale(_groups(_BBOX_2D, text), (1000, 1000), original_size)


def _normalised_1000(text: str, input_size: Size, original_size: Size) -> Box | None:
    """InternVL: `<box>[[102, 204, 307, 409]]</box>`, in thousandths of the image.

    As published: numbers whose sum is below 4 are fractions of the image instead.
    """
    numbers = _groups(_LIST, text)
    units = 1 if sum(map(float, numbers)) < 4 else 1000
    return _rescale(numbers, (units, units), original_size)


def _deepseek_vl2(text: str, input_size: Size, original_size: Size) -> Box | None:
    """`<|det|>[[102, 204, 307, 409]]<|/det|>`, where 999 is the far edge of the image.

    999 is what the model's own parser divides by; the published evaluation divides by 1000.
    """
    return _rescale(_groups(_LIST, text), (999, 999), original_size)


def _unit(text: str, input_size: Size, original_size: Size) -> Box | None:
    """`[0.1, 0.2, 0.3, 0.4]`, in fractions of the centre square that LLaVA-1.5 is shown.

    Its image processor in transformers scales the shorter side and cuts off the ends of the longer
    one, so a target outside the square cannot be answered. No published evaluation asks LLaVA-1.5
    for boxes under this processor: the reading is inferred from what the model sees.
    """
    return _rescale_square(_groups(_LIST, text), min(original_size), original_size)


def _unit_padded(text: str, input_size: Size, original_size: Size) -> Box | None:
    """Like `unit`, of the square to which LLaVA's own code pads an image, evenly on both ends."""
    return _rescale_square(_groups(_LIST, text), max(original_size), original_size)


def _unit_whole(text: str, input_size: Size, original_size: Size) -> Box | None:
    """`[0.1, 0.2, 0.3, 0.4]`, in fractions of the whole image."""
    return _rescale(_groups(_LIST, text), (1, 1), original_size)


def _groups(pattern: re.Pattern[str], text: str) -> Sequence[str]:
    match = pattern.search(text)
    return match.groups() if match else ()


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


def _rescale_square(numbers: Sequence[str], side: int, original_size: Size) -> Box | None:
    """From fractions of a square of `side` original pixels around the centre of the image."""
    box = _rescale(numbers, (1, 1), (side, side))
    if box is None:
        return None
    left, top = ((length - side) / 2 for length in original_size)
    return (box[0] + left, box[1] + top, box[2] + left, box[3] + top)


BOX_FORMATS: dict[str, Callable[[str, Size, Size], Box | None]] = {
    "deepseek_vl2": _deepseek_vl2,
    "normalised_1000": _normalised_1000,
    "plain": _plain,
    "qwen2_5_vl": _qwen2_5_vl,
    "qwen2_vl": _qwen2_vl,
    "qwen3_vl": _qwen3_vl,
    "unit": _unit,
    "unit_padded": _unit_padded,
    "unit_whole": _unit_whole,
}
"""How each model family writes boxes: (reply, input size, original size) -> box."""
