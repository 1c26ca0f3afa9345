"""What structs, lists and conversations say, where their meaning is plain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .texts import NoTextError, as_list, as_text, is_container, is_list, is_missing, shortened

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
    if not is_list(cell):
        return [] if is_missing(cell) else [cell]
    members = [member for member in as_list(cell) if not is_missing(member)]
    if any(map(_message_keys, members)):
        return _of_conversation(members, role)
    inner = [scalars_of(member, role) for member in members]
    ambiguous = any(
        is_container(member) and len(texts) > 1
        for member, texts in zip(members, inner, strict=True)
    )
    if len(members) > 1 and ambiguous:
        raise NoTextError(f"{shortened(cell)} is a list of lists, whose meaning is not plain")
    return [text for texts in inner for text in texts]


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
