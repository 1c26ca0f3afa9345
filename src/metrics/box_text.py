"""The four numbers of a box in a text: as a person finds them, and as published code does."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence

from .replies import answer_part, fold

Corners = tuple[float, float, float, float]
"""Two opposite corners of a box, (x1, y1, x2, y2), in the unit that its writer uses."""

Finder = Callable[[str], Corners | None]
"""(reply) -> its first box."""

_NUMBER = r"[\"']?([-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?)[\"']?"
_COMMA = r"(?:\s*[,;]\s*|\s+)"
_FOUR = _COMMA.join([_NUMBER] * 4)
_CONFIDENCE = rf"(?:{_COMMA}(?:0?\.\d+|1\.0+|1|0))?"
_PAIR = rf"[(\[]\s*{_NUMBER}{_COMMA}{_NUMBER}\s*[)\]]"
_KEY = r"\b(?:bbox_2d|bbox|bboxes|box|boxes|bounding[ _]?box|coordinates|coords)\b"

_KEYED = re.compile(
    rf"{_KEY}[\"']?\s*(?:[:=]|is|are)\s*[\"']?(?:[\[(]+\s*{_FOUR}{_CONFIDENCE}\s*[\])]"
    rf"|{_FOUR}(?![\d.,;\s]*\d))",
    re.IGNORECASE,
)
_LISTED = re.compile(rf"[\[(]\s*{_FOUR}{_CONFIDENCE}\s*[\])]")
_PAIRED = re.compile(rf"{_PAIR}\s*(?:[,;]|and|to|-)?\s*{_PAIR}", re.IGNORECASE)
_TAGGED = re.compile(rf"<box>\s*{_FOUR}\s*</box>", re.IGNORECASE)
_NAMES = (
    ("x1", "y1", "x2", "y2"),
    ("xmin", "ymin", "xmax", "ymax"),
    ("x_min", "y_min", "x_max", "y_max"),
    ("left", "top", "right", "bottom"),
)
_NAMED = [
    [re.compile(rf"\b{name}\b[\"']?\s*[:=]\s*{_NUMBER}") for name in names] for names in _NAMES
]

_INTEGER = r"(-?[0-9]+)"
_PLAIN_INTEGER = re.compile(_INTEGER)
_PLAIN_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
_PUBLISHED_BBOX_2D = re.compile(r'"bbox_2d":\s*\[' + r",\s*".join([r"(\d+)"] * 4) + r"\]")
_PUBLISHED_PAIRS = re.compile(r"\((\d+),(\d+)\),\((\d+),(\d+)\)")
_PUBLISHED_PARTS = re.compile(r"\[+([^,\n]*),([^,\n]*),([^,\n]*),([^\]\n]*)\]")


def find_box(reply: str) -> Corners | None:
    """The first box in the answer part of a reply, or None where there is none; never fails.

    In this order: a list behind a key such as "bbox_2d" or "bbox"; any list of four numbers,
    perhaps with a confidence; two points; numbers named x1, y1, x2, y2. Quotes of any kind,
    decimals and fullwidth characters make no difference.
    """
    text = fold(answer_part(reply))
    for pattern in (_KEYED, _LISTED, _TAGGED, _PAIRED):
        if match := pattern.search(text):
            return _corners([number for number in match.groups() if number is not None])
    for patterns in _NAMED:
        found = [pattern.search(text) for pattern in patterns]
        if all(found):
            return _corners([match[1] for match in found if match])
    return None


def find_plain_box(reply: str) -> Corners | None:
    """The same, else the first four numbers: `14 28 98 112`."""
    return find_box(reply) or _corners(_PLAIN_NUMBER.findall(fold(answer_part(reply)))[:4])


def published_integers(reply: str) -> Corners | None:
    """The first four integers."""
    return _corners(_PLAIN_INTEGER.findall(reply)[:4])


def published_bbox_2d(reply: str) -> Corners | None:
    """`"bbox_2d": [14, 28, 98, 112]`: that key, those quotes, and integers without a sign."""
    return _groups(_PUBLISHED_BBOX_2D, reply)


def published_pairs(reply: str) -> Corners | None:
    """`(102,204),(307,409)`: integers without a sign or space."""
    return _groups(_PUBLISHED_PAIRS, reply)


def published_list(reply: str) -> Corners | None:
    """`[[102, 204, 307, 409]]`: the first bracket with three commas and an end on its line; None
    unless its four parts are all numbers."""
    return _groups(_PUBLISHED_PARTS, reply)


def _groups(pattern: re.Pattern[str], text: str) -> Corners | None:
    match = pattern.search(text)
    return _corners(match.groups()) if match else None


def _corners(numbers: Sequence[str]) -> Corners | None:
    if len(numbers) < 4:
        return None
    try:
        # float, not int: int() refuses strings of several thousand digits.
        x1, y1, x2, y2 = (float(number) for number in numbers)
    except ValueError:
        return None
    corners = (x1, y1, x2, y2)
    return corners if all(map(math.isfinite, corners)) else None
