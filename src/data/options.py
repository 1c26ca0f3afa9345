"""What cells say about the options of a question."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from string import ascii_uppercase
from typing import Any

from .cells import parse_list
from .structures import scalars_of, text_of
from .texts import as_list, as_text, is_missing, shortened, without_junk


def letter_of(index: int, choices: Sequence[str]) -> str:
    """The letter of the option at a 0-based index."""
    if not 0 <= index < min(len(choices), len(ascii_uppercase)):
        raise ValueError(f"the answer is option {index}, counted from 0, of {len(choices)}")
    return ascii_uppercase[index]


def options_of(cell: Any, columns: str | Sequence[str] | None) -> list[str]:
    """The texts of the options, "" for a missing one.

    Args:
        cell: of one column, a list, a struct by letter such as `{"A": "red", "B": "green"}`, one
            with `label` and `text`, or any of these written as text; of several columns, the list
            of their cells.
        columns: that `cell` is from.

    Raises:
        ValueError: an option is no text, the letters of a struct are none, or all options are in
            one text.
    """
    if isinstance(columns, str):
        cell = _undressed(cell)
        cell = _options_of_struct(cell) if isinstance(cell, dict) else as_list(cell)
    options = as_list(cell)
    _check_labels([option.get("label") for option in options if isinstance(option, dict)])
    return [without_junk(text_of(option, "choices")) for option in options]


def _undressed(cell: Any) -> Any:
    """A list or a struct, out of the text that it was written as."""
    if not isinstance(cell, str) or not cell.strip():
        return cell
    if cell.lstrip().startswith("{"):
        return parse_list(f"[{cell}]")[0]
    members = parse_list(cell)
    if members == [cell]:
        raise ValueError(
            f"the options are the one text {shortened(cell)}: name a column for each, or write "
            "them as a list"
        )
    return members


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


def trim_choices(texts: Iterable[Any]) -> list[str]:
    """Option texts without the missing ones at the end; a gap stays, as letters must not move."""
    choices = [as_text(text) for text in texts]
    while choices and not choices[-1]:
        choices.pop()
    return choices
