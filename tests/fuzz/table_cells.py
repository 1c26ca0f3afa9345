"""Strategies: what people's tables hold, and what must not come out of it."""

from __future__ import annotations

import base64
import datetime
import io
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import numpy as np
from hypothesis import strategies as st
from PIL import Image

from source_formats import png

PICTURE = png(30, 20)

WORDS = st.sampled_from([
    "", " ", "red", "A", "B\r", "yes", "0", "1", "1.0", "3.0", "007", "nan", "None", "True", "null",
    "\ufeffA", "A. x\r\nB. y", "[", "['a', 'b']", "['a' 'b']", '["a"]', "{'answer': 'a'}", "(1, 2)",
    "[1, 2, 3, 4]", "0.1 0.2 0.3 0.4", "array(['a'])", "b'\\x89PNG'", "data:image/png;base64,AAAA",
    "data:,x", base64.b64encode(PICTURE).decode(), "a.png", "\x00", "9" * 30, "[" * 200, "1e999",
])  # fmt: skip
TEXTS = st.one_of(WORDS, st.text(max_size=12))
MOMENTS = st.one_of(
    st.dates(), st.times(), st.timedeltas(), st.datetimes(),
    st.datetimes(timezones=st.just(datetime.UTC)),
)  # fmt: skip
NUMBERS = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-2, 5),
    st.floats(),
    st.sampled_from([0.3, 3.0, -0.0, 1e20, 5e-324]),
    st.floats(width=32).map(np.float32),
    st.decimals(allow_infinity=False, places=2, min_value=-1e6, max_value=1e6),
)
BYTES = st.one_of(st.binary(max_size=12), st.sampled_from([b"red", PICTURE, b"\xff", b""]))
SCALARS = st.one_of(st.none(), st.booleans(), TEXTS, NUMBERS, BYTES, MOMENTS)
NAMES = st.sampled_from([
    "answer", "question", "text", "label", "A", "B", "bytes", "path", "role", "content", "from",
    "value", "x",
])  # fmt: skip


def _inside(cells: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.lists(cells, max_size=4),
        st.dictionaries(NAMES, cells, min_size=1, max_size=3),
        st.lists(st.fixed_dictionaries({"role": TEXTS, "content": cells}), max_size=2),
        st.fixed_dictionaries({"answer": cells, "answer_id": st.integers(0, 9)}),
    )


CELLS = st.recursive(SCALARS, _inside, max_leaves=6)
"""A cell of a typed table, such as parquet."""

JSON_SCALARS = st.one_of(
    st.none(), st.booleans(), TEXTS, st.integers(-(10**25), 10**25), st.floats()
)
JSON_CELLS = st.recursive(JSON_SCALARS, _inside, max_leaves=6)
"""A cell of a json file."""

BOXES = st.one_of(
    CELLS,
    st.lists(st.floats(-5, 60), min_size=4, max_size=4),
    st.lists(st.floats(0, 1), min_size=4, max_size=4),
    st.lists(st.lists(st.integers(0, 40), min_size=4, max_size=4), max_size=2),
)


@st.composite
def pictures(draw: st.DrawFn) -> Image.Image:
    """A small picture of any mode and any values."""
    mode = draw(st.sampled_from([
        "1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "LA", "PA", "RGBX",
        "RGBa", "La", "I;16", "I;16B",
    ]))  # fmt: skip
    size = draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
    picture = Image.new(mode, size)
    length = len(picture.tobytes())
    content = draw(st.binary(min_size=length, max_size=length))
    picture = Image.frombytes(mode, size, content)
    if mode in ("P", "PA"):
        picture.putpalette(draw(st.binary(min_size=768, max_size=768)))
    if mode in ("1", "L", "P") and draw(st.booleans()):
        picture.info["transparency"] = draw(st.integers(0, 1 if mode == "1" else 255))
    return picture


def encoded(picture: Image.Image, kind: str, orientation: int) -> bytes | None:
    """The bytes of a file of some kind; None where the kind has no such mode."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    try:
        picture.save(file, kind, exif=exif)
    except (OSError, ValueError, KeyError):
        return None
    return file.getvalue()


def notations(cell: Any) -> Iterator[str]:
    """How Python itself writes a cell, and what is in it, where that is no text of the cell."""
    if isinstance(cell, Mapping):
        yield from (str(cell), repr(cell))
        for member in cell.values():
            yield from notations(member)
    elif isinstance(cell, list):
        yield from (str(cell), repr(cell))
        for member in cell:
            yield from notations(member)
    elif isinstance(cell, bytes | datetime.date | datetime.time | datetime.timedelta | Decimal):
        yield repr(cell)
    elif cell is None or isinstance(cell, bool):
        yield str(cell)
    elif isinstance(cell, float | np.floating) and not np.isfinite(cell):
        yield from (str(cell), repr(cell))


def texts_in(cell: Any) -> Iterator[str]:
    """All texts that a cell holds, as such or in bytes."""
    if isinstance(cell, str):
        yield cell
    elif isinstance(cell, bytes):
        yield cell.decode(errors="replace")
    elif isinstance(cell, Mapping):
        for member in cell.values():
            yield from texts_in(member)
    elif isinstance(cell, list):
        for member in cell:
            yield from texts_in(member)
