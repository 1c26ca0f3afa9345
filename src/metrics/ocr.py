"""Text read off an image: OCRBench."""

from __future__ import annotations

from collections.abc import Sequence

from .replies import final_part, fold

FORMULAS = "Handwritten Mathematical Expression Recognition"
"""The category whose answers are LaTeX: case matters and spaces do not."""


def contains_answer(prediction: str, answers: Sequence[str], category: str = "") -> bool:
    """Whether an accepted answer occurs in the reply; an empty one never does."""
    plain = _formula if category == FORMULAS else _words
    reply = plain(prediction)
    return any(text in reply for text in map(plain, answers) if text)


def reads_answer(prediction: str, answers: Sequence[str], category: str = "") -> bool:
    """The same of what was not only thought, fullwidth characters counting as their ASCII ones."""
    text = final_part(prediction)
    folded = [fold(answer) for answer in answers]
    return contains_answer(text, answers, category) or contains_answer(fold(text), folded, category)


def _words(text: str) -> str:
    return text.lower().strip().replace("\n", " ")


def _formula(text: str) -> str:
    return text.strip().replace("\n", " ").replace(" ", "")
