"""Short answers as the VQA benchmark compares them, and its score over ten annotators."""

from __future__ import annotations

import re
from collections.abc import Sequence

PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'

_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_DIGITS = {"none": "0"} | {word: str(value) for value, word in enumerate(_NUMBERS)}
_ARTICLES = {"a", "an", "the"}
_DIGIT_COMMA_DIGIT = re.compile(r"\d,\d")
_FULL_STOP = re.compile(r"\.(?!\d)")

_SPELLED = (
    "ain't aren't can't couldn't didn't doesn't don't hadn't hasn't haven't isn't mightn't mustn't "
    "needn't shouldn't wasn't weren't won't wouldn't could've might've must've should've would've "
    "not've they've you've who've i've they're you're i'm he'd how'd they'd there'd who'd you'd "
    "he's she's how's that's there's what's when's where's who's why's let's somebody's someone's "
    "something's how'll it'll that'll they'll what'll who'll you'll why'll why're y'all ma'am "
    "o'clock"
)
_CONTRACTIONS = {word.replace("'", ""): word for word in _SPELLED.split()}
"""Apostrophes that annotators leave out. Forms that are words of their own without one (its,
were, well, shell, ill, id, wed) are not restored."""


def strip_punctuation(text: str) -> str:
    """`text` without punctuation.

    A mark is removed where it touches a space anywhere in the text, or where a digit, a comma and
    a digit follow one another; otherwise it becomes a space. Full stops go unless a digit follows
    (the published pattern means to spare those after a digit too, but does not).
    """
    has_grouped_digits = _DIGIT_COMMA_DIGIT.search(text) is not None
    stripped = text
    for mark in PUNCTUATION:
        touches_space = f"{mark} " in text or f" {mark}" in text
        stripped = stripped.replace(mark, "" if touches_space or has_grouped_digits else " ")
    return _FULL_STOP.sub("", stripped)


def normalise_vqa(answer: str) -> str:
    """Lower case, no punctuation and articles, number words as digits, apostrophes restored."""
    text = strip_punctuation(answer.replace("\n", " ").replace("\t", " ").strip()).lower()
    words = [_DIGITS.get(word, word) for word in text.split()]
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def vqa_score(prediction: str, answers: Sequence[str]) -> float:
    """Agreement with the annotators in [0, 1]: 0.3 where one of ten gave this answer, 1 from four.

    The mean over the annotators i of min(1, matches among the others / 3): leaving one out at a
    time, as the benchmark defines accuracy (Antol et al. 2015, "VQA", evaluation code).
    """
    if not answers:
        return 0.0
    text = normalise_vqa(prediction)
    matches = [normalise_vqa(answer) == text for answer in answers]
    total = sum(matches)
    return sum(min(1.0, (total - match) / 3) for match in matches) / len(matches)
