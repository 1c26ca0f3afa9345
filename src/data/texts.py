"""What a scalar cell says as text, and which cells are none.

Nothing here falls back on Python's own notation of a value: what is no text is refused.
"""

from __future__ import annotations

import datetime
import math
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np

QUOTED = 80
"""Characters of a cell in an error message."""

LARGEST_EXACT = 2**53
"""From here on a float no longer tells neighbouring whole numbers apart."""

JUNK = "\u200b\u2060\ufeff\u200e\u200f"
"""Characters that nobody sees: zero-width spaces, byte order marks, marks of direction."""

_UNSEEN = dict.fromkeys(map(ord, JUNK))


class NoTextError(ValueError):
    """A cell holds something else than the text that is asked for."""


@dataclass(frozen=True)
class Unreadable:
    """A cell of a table that no value of Python stands for, such as a date in the year 20000.

    Attributes:
        reason: what the table's reader says of it.
    """

    reason: str


def shortened(cell: Any) -> str:
    """A cell as an error message quotes it; one may hold an image of a megabyte."""
    text = repr(cell)
    return text if len(text) <= QUOTED else f"{text[:QUOTED]}..."


def is_missing(cell: Any) -> bool:
    """Whether a cell is none, not a number, or not a time."""
    if cell is None:
        return True
    if isinstance(cell, Decimal):
        return cell.is_nan()
    # Not a number and not a time are unequal to themselves.
    return isinstance(cell, float | np.floating | datetime.datetime) and bool(cell != cell)


def as_text(cell: Any) -> str:
    """A scalar cell as text; "" for a missing one.

    Numbers are written without an exponent, and whole ones without the `.0` that gaps in a column
    give them; truth as in JSON; dates as in ISO 8601, without a midnight that says nothing.

    Raises:
        NoTextError: the cell is a list, a struct, an image, no text in UTF-8, or a number whose
            last digits are lost.
    """
    if isinstance(cell, str):
        return str(cell)
    if is_missing(cell):
        return ""
    if isinstance(cell, bool | np.bool_):
        return "true" if cell else "false"
    if isinstance(cell, int | np.integer):
        return str(int(cell))
    if isinstance(cell, float | np.floating):
        return _of_float(cell)
    if isinstance(cell, Decimal) and cell.is_finite():
        return format(cell, "f")
    if isinstance(cell, datetime.date | datetime.time):
        return _of_time(cell)
    if isinstance(cell, bytes | bytearray):
        return _of_bytes(bytes(cell))
    if isinstance(cell, uuid.UUID):
        return str(cell)
    if isinstance(cell, Unreadable):
        raise NoTextError(f"the cell cannot be read ({cell.reason})")
    raise NoTextError(f"{shortened(cell)} is {_kind(cell)}, where a text is expected")


def _of_float(number: float | np.floating[Any]) -> str:
    if not math.isfinite(number):
        raise NoTextError(f"{number} is no number that can be written")
    if float(number).is_integer():
        if abs(float(number)) >= LARGEST_EXACT:
            raise NoTextError(
                f"{float(number)} has lost its last digits as a float: store it as text or integer"
            )
        return str(int(number))
    return np.format_float_positional(number, trim="-")


def _of_time(moment: datetime.date | datetime.time) -> str:
    if not isinstance(moment, datetime.datetime):
        return moment.isoformat()
    if moment.tzinfo is None and moment.time() == datetime.time():
        return moment.date().isoformat()
    return moment.isoformat(sep=" ")


def _of_bytes(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise NoTextError(f"{shortened(content)} is no text in UTF-8") from None


def _kind(cell: Any) -> str:
    if isinstance(cell, Mapping):
        return "a struct"
    return "a list" if is_list(cell) else f"of the type {type(cell).__name__}"


def is_list(cell: Any) -> bool:
    """Whether a cell is a list of any kind."""
    return isinstance(cell, list | tuple | set | frozenset | np.ndarray)


def is_container(cell: Any) -> bool:
    """Whether a cell is a list or a struct."""
    return is_list(cell) or isinstance(cell, Mapping)


def as_list(cell: Any) -> list[Any]:
    """The members of a list cell; a single value is a list of one, a missing one an empty list."""
    if cell is None:
        return []
    return list(cell) if is_list(cell) else [cell]


def without_junk(text: str) -> str:
    """A text without what nobody sees, such as an option or a letter.

    Carriage returns become line ends; where there were any, those at the ends go.
    """
    seen = text.translate(_UNSEEN)
    if "\r" not in seen:
        return seen
    return seen.replace("\r\n", "\n").replace("\r", "\n").strip("\n")
