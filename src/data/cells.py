"""What single cells of a source's table mean: options, answers, boxes, images."""

from __future__ import annotations

import ast
import base64
import binascii
import hashlib
import io
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import PIL.Image

ENCODED = {"bytes": None, "path": None}
"""An image that `datasets` has not decoded."""

QUOTED = 80
"""Characters of a cell in an error message."""

LARGEST = 1e6
"""Pixels: a coordinate beyond it is none."""

ORIENTATION = 0x0112
"""The EXIF tag that says how a picture is turned; from 5 on its sides are exchanged."""


def as_text(cell: Any) -> str:
    """A cell as text; "" for none and nan. Whole numbers lose the `.0` that gaps give them."""
    if cell is None or cell != cell:
        return ""
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)
    return str(cell)


def as_list(cell: Any) -> list[Any]:
    """The members of a list cell; a single value is a list of one, a missing one an empty list."""
    if cell is None:
        return []
    return list(cell) if isinstance(cell, list | tuple) else [cell]


def parse_list(cell: Any) -> list[Any]:
    """The members of a list that was written as text, `['a', 'b']`; other text is one member.

    Raises:
        ValueError: the text begins as a list and is none.
    """
    if not isinstance(cell, str) or not cell.lstrip().startswith(("[", "(")):
        return as_list(cell)
    for read in (ast.literal_eval, json.loads):
        try:
            return as_list(read(cell.strip()))
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
    if cell.lstrip().startswith("["):
        raise ValueError(f"{shortened(cell)} begins as a list and is none")
    return [cell]


def shortened(cell: Any) -> str:
    """A cell as an error message quotes it; one may hold an image of a megabyte."""
    text = repr(cell)
    return text if len(text) <= QUOTED else f"{text[:QUOTED]}..."


def letter_of(index: int, choices: Sequence[str]) -> str:
    """The letter of the option at a 0-based index."""
    if not 0 <= index < min(len(choices), len(ascii_uppercase)):
        raise ValueError(f"the answer is option {index}, counted from 0, of {len(choices)}")
    return ascii_uppercase[index]


def trim_choices(texts: Iterable[Any]) -> list[str]:
    """Option texts without the missing ones at the end; a gap stays, as letters must not move."""
    choices = [as_text(text) for text in texts]
    while choices and not choices[-1]:
        choices.pop()
    return choices


def _index(cell: Any, choices: Sequence[str]) -> list[str]:
    return [letter_of(int(as_text(number)), choices) for number in as_list(cell)]


def _choice(cell: Any, choices: Sequence[str]) -> list[str]:
    options = [choice.strip() for choice in choices]
    if not (text := as_text(cell).strip()) or text not in options:
        raise ValueError(f"the answer {text!r} is none of the options {list(choices)}")
    return [letter_of(options.index(text), choices)]


def _zero_one(cell: Any, choices: Sequence[str]) -> list[str]:
    if (text := as_text(cell).strip()) not in (words := {"0": "No", "1": "Yes"}):
        raise ValueError(f"the answer {text!r} is neither 0 nor 1")
    return [words[text]]


ANSWER_FORMATS: dict[str, Callable[[Any, Sequence[str]], list[str]]] = {
    "text": lambda cell, choices: [as_text(answer) for answer in as_list(cell)],
    "listed": lambda cell, choices: [as_text(answer) for answer in parse_list(cell)],
    "index": _index,
    "choice": _choice,
    "zero_one": _zero_one,
}
"""How a source writes answers: as they are; as a list written as text; as the 0-based index of an
option; as the text of an option; as 0 for No and 1 for Yes. (cell, choices) -> answers."""


def to_box(numbers: Sequence[Any]) -> list[float]:
    """(x1, y1, x2, y2) as it is."""
    x1, y1, x2, y2 = map(float, numbers)
    return [x1, y1, x2, y2]


def to_box_from_sides(numbers: Sequence[Any]) -> list[float]:
    """(x1, y1, x2, y2) from (x, y, width, height)."""
    x, y, width, height = map(float, numbers)
    return [x, y, x + width, y + height]


BOX_FORMATS: dict[str, Callable[[Sequence[Any]], list[float]]] = {
    "xyxy": to_box,
    "xywh": to_box_from_sides,
}
"""How a source writes boxes, in pixels of the original image."""


def to_boxes(cell: Any, box_format: str) -> list[list[float]]:
    """The boxes of a cell: four numbers, a list of such, or four numbers as text.

    Raises:
        ValueError: it does not hold four numbers, or no box of an image.
    """
    numbers = cell.replace(",", " ").strip("[]() ").split() if isinstance(cell, str) else cell
    numbers = as_list(numbers)
    nested = bool(numbers) and isinstance(numbers[0], list | tuple)
    rows = numbers if nested else [numbers] if numbers else []
    try:
        boxes = [BOX_FORMATS[box_format](row) for row in rows]
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"the box {shortened(cell)} is not four numbers") from error
    for x1, y1, x2, y2 in boxes:
        if not (-LARGEST < x1 <= x2 < LARGEST and -LARGEST < y1 <= y2 < LARGEST):
            raise ValueError(f"the box {shortened(cell)} is none in pixels, as {box_format}")
    return boxes


def decode_base64(text: str) -> dict[str, Any]:
    """An encoded image; its bytes are empty, and so undecodable, where the text is damaged."""
    try:
        content = base64.b64decode("".join(text.split()), validate=True)
    except binascii.Error:
        content = b""
    return ENCODED | {"bytes": content}


def image_size(image: dict[str, Any]) -> tuple[int, int]:
    """(width, height) from the header alone, upright; (0, 0) where it cannot be read."""
    try:
        file: Any = io.BytesIO(image["bytes"]) if image["bytes"] is not None else image["path"]
        with PIL.Image.open(file) as header:
            width, height = header.size
            # Pillow would decode a whole PNG to look for EXIF data, which few have.
            turned = header.format != "PNG" and header.getexif().get(ORIENTATION, 1) >= 5
    # PIL sets no limit to what a broken file raises; whoever decodes it reports it.
    except Exception:
        return 0, 0
    return (height, width) if turned else (width, height)


def stamp_of(path: Path) -> str:
    """Changes when a file, or a file in a folder, is replaced; "" where there is none."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path] if path.exists() else []
    about = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(repr(about).encode()).hexdigest() if about else ""


def file_in(folder: str | None, name: str) -> str:
    """`name` below `folder`; as it is without one."""
    return str(Path(folder).expanduser() / name) if folder else name
