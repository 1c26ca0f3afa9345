"""What a single cell says: text out of scalars, of structs and lists where the meaning is plain.

Nothing here falls back on Python's own notation of a value: what is no text is refused.
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np

QUOTED = 80
"""Characters of a cell in an error message."""

LARGEST_EXACT = 2**53
"""From here on a float no longer tells neighbouring whole numbers apart."""

JUNK = "\u200b\u2060\ufeff\u200e\u200f"
"""Characters that nobody sees and that mean nothing at the ends of a text: zero-width spaces, byte
order marks, marks of direction."""

SPEAKERS: dict[str, frozenset[str]] = {
    "question": frozenset({"user", "human"}),
    "answer": frozenset({"assistant", "gpt"}),
}
"""Role of a column -> who says it in a conversation."""

MESSAGES = (("role", "content"), ("from", "value"))
"""How turns of a conversation name their speaker and their content."""

PICTURES = frozenset({"image", "image_url", "video"})
"""Types of the parts of a message that are no text."""

PLACEHOLDERS = ("<image>", "<video>")
"""What stands for the picture in conversations with "from" and "value"; prompts place it anew."""


class NoTextError(ValueError):
    """A cell holds something else than the text that is asked for."""


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
    raise NoTextError(f"{shortened(cell)} is {_kind(cell)}, where a text is expected")


def _of_float(number: float | np.floating[Any]) -> str:
    if not np.isfinite(number):
        raise NoTextError(f"{number} is no number that can be written")
    if float(number).is_integer():
        if abs(number) >= LARGEST_EXACT:
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
    return "a list" if _is_list(cell) else f"of the type {type(cell).__name__}"


def _is_list(cell: Any) -> bool:
    return isinstance(cell, list | tuple | set | frozenset | np.ndarray)


def as_list(cell: Any) -> list[Any]:
    """The members of a list cell; a single value is a list of one, a missing one an empty list."""
    if cell is None:
        return []
    return list(cell) if _is_list(cell) else [cell]


def text_of(cell: Any, role: str) -> str:
    """The one text of a cell; "" where there is none.

    Args:
        role: of the cell's column, a key of `columns`.

    Raises:
        NoTextError: the cell holds several texts, or something else.
    """
    found = scalars_of(cell, role)
    if len(found) > 1:
        raise NoTextError(f"{shortened(cell)} holds {len(found)} texts, where one is expected")
    return as_text(found[0]) if found else ""


def scalars_of(cell: Any, role: str) -> list[Any]:
    """What a cell holds, out of the lists and structs around it.

    A struct is read by the one of its keys that is named as the role or "text":
    `{"answer": ..., "answer_id": ...}`, `{"text": [...], "answer_start": [...]}`. A list of lists
    is read where it has one member, or each of them has. In a conversation, `question` is what the
    user says and `answer` what the assistant says.

    Raises:
        NoTextError: the meaning of a list or struct is not plain.
    """
    if isinstance(cell, Mapping):
        return _of_struct(cell, role)
    if not _is_list(cell):
        return [] if is_missing(cell) else [cell]
    members = [member for member in as_list(cell) if not is_missing(member)]
    if any(map(_message_keys, members)):
        return _of_conversation(members, role)
    inner = [scalars_of(member, role) for member in members]
    ambiguous = any(
        _is_container(member) and len(texts) > 1
        for member, texts in zip(members, inner, strict=True)
    )
    if len(members) > 1 and ambiguous:
        raise NoTextError(f"{shortened(cell)} is a list of lists, whose meaning is not plain")
    return [text for texts in inner for text in texts]


def _is_container(cell: Any) -> bool:
    return _is_list(cell) or isinstance(cell, Mapping)


def _of_struct(cell: Mapping[str, Any], role: str) -> list[Any]:
    if _message_keys(cell):
        return _of_conversation([cell], role)
    keys = dict.fromkeys((role, "text"))
    found = [key for key in keys if not is_missing(cell.get(key))]
    if len(found) == 1:
        return scalars_of(cell[found[0]], role)
    if not found and (not cell or any(key in cell for key in keys)):
        return []
    raise NoTextError(
        f"{shortened(cell)} is a struct, of which not exactly one of {list(keys)} can be read: "
        f"name a path into it, such as <column>.{next(iter(cell))}"
    )


def _message_keys(cell: Any) -> tuple[str, str] | None:
    """How a turn of a conversation names its speaker and its content; None for anything else."""
    if not isinstance(cell, Mapping):
        return None
    return next((keys for keys in MESSAGES if all(key in cell for key in keys)), None)


def _of_conversation(turns: Sequence[Any], role: str) -> list[Any]:
    """What the speaker who belongs to `role` says, of at most one turn each."""
    said: dict[str, list[Any]] = {}
    for turn in turns:
        keys = _message_keys(turn)
        speaker = "" if keys is None else as_text(turn[keys[0]])
        who = next((name for name, names in SPEAKERS.items() if speaker in names), None)
        if keys is None or who is None or who in said:
            raise NoTextError(
                f"{shortened(list(turns))} is a conversation of more than one user's and one "
                "assistant's turn"
            )
        said[who] = _of_content(turn[keys[1]])
        if keys[0] == "from":
            said[who] = [_without_placeholder(as_text(text)) for text in said[who]]
    if role not in SPEAKERS:
        raise NoTextError(f"{shortened(list(turns))} is a conversation, and no {role}")
    return said.get(role, [])


def _of_content(content: Any) -> list[Any]:
    """The texts of a turn, whose content may be a list of typed parts."""
    parts = [part for part in as_list(content) if not is_missing(part)]
    texts = []
    for part in parts:
        if not isinstance(part, Mapping):
            texts.append(part)
        elif part.get("type") == "text" or (part.get("type") is None and "text" in part):
            texts.append(part["text"])
        elif part.get("type") not in PICTURES:
            raise NoTextError(f"{shortened(part)} is no text of a message")
    return texts


def _without_placeholder(text: str) -> str:
    for placeholder in PLACEHOLDERS:
        text = text.removeprefix(placeholder).removesuffix(placeholder)
    return text.strip()


def without_junk(text: str) -> str:
    """A text that stands on a line of its own, such as an option, without what nobody sees.

    Carriage returns become line ends, and those at the ends go, with zero-width characters.
    """
    if "\r" not in text and not any(mark in text for mark in JUNK):
        return text
    return text.replace("\r\n", "\n").replace("\r", "\n").strip(f"{JUNK}\n")
