"""What single cells of a source's table mean: lists, options and answers."""

from __future__ import annotations

import ast
import hashlib
import io
import json
import re
import tokenize
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from .texts import as_list, as_text, is_missing, scalars_of, shortened, text_of, without_junk

_WHOLE = re.compile(r"([+-]?\d+)(?:\.0*)?")
_WRITTEN = re.compile(r"\s*(?:(?:\[\s*)+[{'\"]|\{\s*['\"]|array\(\[)")
"""How text begins that a list of texts or a struct was turned into."""

_ARRAY = "array("


def parse_list(cell: Any) -> list[Any]:
    """The members of a list that was written as text, `['a', 'b']`; other text is one member.

    Raises:
        ValueError: the text begins as a list and is none.
    """
    if not isinstance(cell, str) or not cell.lstrip().startswith(("[", "(")):
        return as_list(cell)
    for read in (_of_python, json.loads):
        try:
            return as_list(read(cell.strip()))
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
    if cell.lstrip().startswith("["):
        raise ValueError(f"{shortened(cell)} begins as a list and is none")
    return [cell]


def _of_python(text: str) -> Any:
    """The value of a Python literal.

    Raises:
        ValueError, SyntaxError, ...: it is none, or texts follow each other without a comma, as
            numpy writes an array of them; Python would read them as one.
    """
    value = ast.literal_eval(text)
    before = tokenize.NAME
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == before == tokenize.STRING:
            raise ValueError(f"{shortened(text)} has texts without a comma between them")
        if token.type != tokenize.NL:
            before = token.type
    return value


def whole_number(cell: Any) -> int:
    """A whole number, perhaps with the `.0` that gaps in its column gave it.

    Raises:
        ValueError: it is none.
    """
    text = as_text(cell).strip()
    match = _WHOLE.fullmatch(text)
    return int(match[1] if match else text)


def check_unwritten(text: str, what: str) -> None:
    """Fails where a text is the notation of a list of texts or of a struct.

    Raises:
        ValueError: it is; no reply would match it, and no model should read it.
    """
    if _WRITTEN.match(text) and (text.lstrip().startswith(_ARRAY) or _is_literal(text.strip())):
        raise ValueError(f"the {what} {shortened(text)} is a list or struct written as text")


def _is_literal(text: str) -> bool:
    readers: tuple[Callable[[str], Any], ...] = (ast.literal_eval, json.loads)
    for read in readers:
        try:
            return isinstance(read(text), list | dict | set)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
    return False


def letter_of(index: int, choices: Sequence[str]) -> str:
    """The letter of the option at a 0-based index."""
    if not 0 <= index < min(len(choices), len(ascii_uppercase)):
        raise ValueError(f"the answer is option {index}, counted from 0, of {len(choices)}")
    return ascii_uppercase[index]


def options_of(cell: Any, columns: str | Sequence[str] | None) -> list[str]:
    """The texts of the options, "" for a missing one.

    Args:
        cell: of one column, a list, a list written as text, a struct by letter such as
            `{"A": "red", "B": "green"}`, or one with `label` and `text`; of several columns, the
            list of their cells.
        columns: that `cell` is from.

    Raises:
        ValueError: an option is no text, or the letters of a struct are none.
    """
    if isinstance(columns, str):
        cell = _options_of_struct(cell) if isinstance(cell, dict) else parse_list(cell)
    options = as_list(cell)
    _check_labels([option.get("label") for option in options if isinstance(option, dict)])
    return [without_junk(text_of(option, "choices")) for option in options]


def _options_of_struct(cell: dict[str, Any]) -> list[Any]:
    if cell and set(cell) <= set(ascii_uppercase):
        return [cell.get(letter) for letter in ascii_uppercase if letter <= max(cell)]
    _check_labels(as_list(cell.get("label")))
    texts = [cell[key] for key in ("choices", "text") if not is_missing(cell.get(key))]
    # A missing option among them must keep its letter.
    return as_list(texts[0]) if len(texts) == 1 else scalars_of(cell, "choices")


def _check_labels(labels: Sequence[Any]) -> None:
    """Fails where options have labels of their own: answers would not mean their letters."""
    found = [as_text(label) for label in labels if not is_missing(label)]
    if found and found != [*ascii_uppercase[: len(found)]]:
        raise ValueError(f"the options are labelled {found}, and not A, B, C, ...")


def trim_choices(texts: Iterable[str]) -> list[str]:
    """Option texts without the missing ones at the end; a gap stays, as letters must not move."""
    choices = list(texts)
    while choices and not choices[-1]:
        choices.pop()
    return choices


def _text(cells: Sequence[Any], choices: Sequence[str]) -> list[str]:
    answers = _verbatim(cells, choices)
    for answer in answers:
        try:
            check_unwritten(answer, "answer")
        except ValueError as error:
            raise ValueError(
                f"{error}: data.answer_format=listed reads lists, verbatim takes it as it is"
            ) from None
    return answers


def _verbatim(cells: Sequence[Any], choices: Sequence[str]) -> list[str]:
    return [as_text(answer) for answer in cells]


def _listed(cells: Sequence[Any], choices: Sequence[str]) -> list[str]:
    members = [parse_list(cell) for cell in cells]
    return [as_text(answer) for listed in members for answer in scalars_of(listed, "answer")]


def _index(cells: Sequence[Any], choices: Sequence[str]) -> list[str]:
    return [letter_of(whole_number(number), choices) for number in cells]


def _choice(cells: Sequence[Any], choices: Sequence[str]) -> list[str]:
    options = [choice.strip() for choice in choices]
    text = without_junk(text_of(list(cells), "answer")).strip()
    if not text or text not in options:
        raise ValueError(f"the answer {text!r} is none of the options {list(choices)}")
    return [letter_of(options.index(text), choices)]


def _zero_one(cells: Sequence[Any], choices: Sequence[str]) -> list[str]:
    words = {"0": "No", "1": "Yes", "false": "No", "true": "Yes", "0.0": "No", "1.0": "Yes"}
    if (text := text_of(list(cells), "answer").strip()) and text.lower() in words:
        return [words[text.lower()]]
    raise ValueError(f"the answer {text!r} is neither 0 nor 1")


ANSWER_FORMATS: dict[str, Callable[[Sequence[Any], Sequence[str]], list[str]]] = {
    "text": _text,
    "verbatim": _verbatim,
    "listed": _listed,
    "index": _index,
    "choice": _choice,
    "zero_one": _zero_one,
}
"""How a source writes answers: as they are; so, even where one looks like a list; as a list written
as text; as the 0-based index of an option; as the text of an option; as 0 for No and 1 for Yes.
(scalar cells, option texts) -> answers."""


def stamp_of(path: Path) -> str:
    """Changes when a file, or a file in a folder, is replaced; "" where there is none."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path] if path.exists() else []
    about = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(repr(about).encode()).hexdigest() if about else ""


def file_in(folder: str | None, name: str) -> str:
    """`name` below `folder`; as it is without one."""
    return str(Path(folder).expanduser() / name) if folder else name
