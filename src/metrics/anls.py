"""Average normalised Levenshtein similarity: DocVQA and InfographicVQA."""

from __future__ import annotations

from collections.abc import Sequence

from .replies import short_answer

THRESHOLD = 0.5
"""Similarities below it count as 0: the answer is wrong rather than misspelt."""


def anls(prediction: str, answers: Sequence[str]) -> float:
    """Similarity in [0, 1] to the nearest reference (Biten et al. 2019, "Scene Text VQA").

    Strings are compared in lower case with single spaces; the distance is divided by the length
    of the longer ORIGINAL string, as VLMEvalKit does.
    """
    similarity = max((_similarity(prediction, answer) for answer in answers), default=0.0)
    return similarity if similarity >= THRESHOLD else 0.0


def read_anls(prediction: str, answers: Sequence[str]) -> float:
    """The better one of the reply as it stands and of its short answer.

    White space that surrounds a text adds nothing to its length, which as published makes any reply
    more similar. Accepted answers that are empty do not count, and marks alone are similar to
    nothing but marks.
    """
    accepted = [text for answer in answers if (text := " ".join(answer.split()))]
    said = {" ".join(prediction.split()), short_answer(prediction)}
    if not _has_words(prediction):
        accepted = [text for text in accepted if not _has_words(text)]
    return max(anls(text, accepted) for text in said)


def _has_words(text: str) -> bool:
    return any(map(str.isalnum, text))


def levenshtein(a: str, b: str) -> int:
    """How many insertions, deletions and replacements of a character turn `a` into `b`."""
    row = list(range(len(b) + 1))
    for i, character in enumerate(a, start=1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(b, start=1):
            replaced = diagonal + (character != other)
            diagonal = row[j]
            row[j] = min(row[j] + 1, row[j - 1] + 1, replaced)
    return row[-1]


def _similarity(prediction: str, answer: str) -> float:
    length = max(len(prediction), len(answer))
    if length == 0:
        return 1.0
    a, b = _plain(prediction), _plain(answer)
    if abs(len(a) - len(b)) > THRESHOLD * length:
        return 0.0  # so many insertions are needed; saves going through a runaway reply
    return 1 - levenshtein(a, b) / length


def _plain(text: str) -> str:
    return " ".join(text.lower().split())
