"""Short answers in words."""

from __future__ import annotations

from collections.abc import Iterable

from .replies import same_words


def normalise(text: str) -> str:
    """Lower case, no surrounding white space: all that the published "exact match" forgives."""
    return text.strip().lower()


def exact_match(prediction: str, answers: Iterable[str]) -> bool:
    """Whether the normalised prediction equals one of the normalised accepted answers."""
    return normalise(prediction) in {normalise(answer) for answer in answers}


def says_answer(prediction: str, answers: Iterable[str]) -> bool:
    """Whether a person takes the prediction for one of the accepted answers; never where it is "".

    Marks, quotes, a preface and a leading article make no difference.
    """
    accepted = [answer for answer in answers if normalise(answer)]
    said = same_words(prediction)
    same = said != "" and said in map(same_words, accepted)
    return same or exact_match(prediction, accepted)
