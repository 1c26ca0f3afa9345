"""Short answers in words."""

from __future__ import annotations

from collections.abc import Iterable


def normalise(text: str) -> str:
    """Lower case, without surrounding white space: all that "exact match" forgives."""
    return text.strip().lower()


def exact_match(prediction: str, answers: Iterable[str]) -> bool:
    """Whether the normalised prediction equals one of the normalised accepted answers."""
    return normalise(prediction) in {normalise(answer) for answer in answers}
