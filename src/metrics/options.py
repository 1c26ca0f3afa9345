"""The options of a multiple-choice question, and the replies that refuse all of them."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_uppercase

NO_OPTION = "Z"
"""Read from a reply that refuses, or that says itself that no option fits; always wrong."""

LETTERS_IF_UNKNOWN = "ABCD"
"""The options of a question that spells them out in its own text."""

REFUSALS = (
    "Sorry, I can't help with images of people yet.",
    "I can't process this file.",
    "I'm sorry, but without the image provided",
    "Cannot determine the answer",
)


def options_by_letter(choices: Sequence[str]) -> dict[str, str]:
    """Letter -> text of every option there is; an empty text stands for an absent option."""
    lettered = zip(ascii_uppercase, choices, strict=False)
    return {letter: text for letter, text in lettered if text}


def options_or_letters(choices: Sequence[str]) -> dict[str, str]:
    """The same; without options, A to D and no text for any of them."""
    return options_by_letter(choices) or dict.fromkeys(LETTERS_IF_UNKNOWN, "")
