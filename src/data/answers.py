"""How a source writes the answers to its questions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .cells import check_unwritten, parse_list, whole_number
from .options import letter_of
from .structures import scalars_of, text_of
from .texts import as_list, as_text, shortened, without_junk


def _text(cell: Any, choices: Sequence[str]) -> list[str]:
    answers = _verbatim(cell, choices)
    for answer in answers:
        try:
            check_unwritten(answer, "answer")
        except ValueError as error:
            raise ValueError(
                f"{error}: data.answer_format=listed reads lists, verbatim takes it as it is"
            ) from None
    return answers


def _verbatim(cell: Any, choices: Sequence[str]) -> list[str]:
    return [as_text(answer) for answer in as_list(cell)]


def _listed(cell: Any, choices: Sequence[str]) -> list[str]:
    members = [parse_list(written) for written in as_list(cell)]
    return [as_text(answer) for listed in members for answer in scalars_of(listed, "answer")]


def _index(cell: Any, choices: Sequence[str]) -> list[str]:
    return [letter_of(whole_number(number), choices) for number in as_list(cell)]


def _choice(cell: Any, choices: Sequence[str]) -> list[str]:
    options = [choice.strip() for choice in choices]
    text = without_junk(text_of(cell, "answer")).strip()
    if not text or text not in options:
        raise ValueError(f"the answer {text!r} is none of the options {list(choices)}")
    if options.count(text) > 1:
        raise ValueError(f"the answer {text!r} is several of the options {list(choices)}")
    return [letter_of(options.index(text), choices)]


def _zero_one(cell: Any, choices: Sequence[str]) -> list[str]:
    words = {"0": "No", "1": "Yes", "false": "No", "true": "Yes", "0.0": "No", "1.0": "Yes"}
    text = shortened(cell) if isinstance(cell, list) else as_text(cell).strip()
    if text.lower() not in words:
        raise ValueError(f"the answer {text!r} is neither 0 nor 1")
    return [words[text.lower()]]


ANSWER_FORMATS: dict[str, Callable[[Any, Sequence[str]], list[str]]] = {
    "text": _text,
    "verbatim": _verbatim,
    "listed": _listed,
    "index": _index,
    "choice": _choice,
    "zero_one": _zero_one,
}
"""How a source writes answers: as they are; so, even where one looks like a list; as a list written
as text; as the 0-based index of an option; as the text of an option; as 0 for No and 1 for Yes.
(a scalar cell or a list of such, option texts) -> answers."""
