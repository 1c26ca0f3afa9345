"""Short answers as the VQA benchmark compares them, and its score over ten annotators."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .replies import short_answer

PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'

_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_DIGITS = {"none": "0"} | {word: str(value) for value, word in enumerate(_NUMBERS)}
_ARTICLES = {"a", "an", "the"}
_DIGIT_COMMA_DIGIT = re.compile(r"\d,\d")
_FULL_STOP = re.compile(r"\.(?!\d)")
_FULL_STOPS = 32
"""How many are removed: the published code hands a flag, `re.UNICODE`, to the place of a count."""

_SPELLED = (
    "ain't aren't can't couldn't didn't doesn't don't hadn't hasn't haven't isn't mightn't mustn't "
    "needn't oughtn't shan't shouldn't wasn't weren't won't wouldn't could've might've must've "
    "should've would've not've they've we've you've who've what've where've they're you're "
    "there're what're why're he'd how'd it'd they'd there'd where'd who'd you'd someone'd "
    "something'd he's how's that's there's what's when's where's who's why's somebody's someone's "
    "how'll it'll they'll what'll who'll why'll you'll somebody'll someone'll something'll y'all "
    "ma'am o'clock 'twas"
)
_SPELLED_TWICE = (
    "couldn't've hadn't've he'd've it'd've mightn't've she'd've shouldn't've somebody'd've "
    "someone'd've something'd've there'd've they'd've we'd've who'd've wouldn't've y'all'll "
    "y'all'd've you'd've"
)
_CONTRACTIONS = {
    **{word.replace("'", "", 1): word for word in _SPELLED.split()},
    **{
        word[:i] + word[i + 1 :]: word
        for word in _SPELLED_TWICE.split()
        for i, character in enumerate(word)
        if character == "'"
    },
    **dict.fromkeys(("ow's'at", "'ows'at", "'ow'sat"), "'ow's'at"),
    "somebody'd": "somebodyd",
}
"""Apostrophes that annotators leave out: one of them. Forms that are words of their own without
one (its, were, well, shell, ill, id, wed, lets) are not restored; the last entry is published."""


def strip_punctuation(text: str) -> str:
    """`text` without punctuation, as published.

    A mark is removed where it touches a space anywhere in the text, or where a digit, a comma and
    a digit follow one another; otherwise it becomes a space. Full stops go unless a digit follows
    (the published pattern means to spare those after a digit too, but does not).
    """
    has_grouped_digits = _DIGIT_COMMA_DIGIT.search(text) is not None
    stripped = text
    for mark in PUNCTUATION:
        touches_space = f"{mark} " in text or f" {mark}" in text
        stripped = stripped.replace(mark, "" if touches_space or has_grouped_digits else " ")
    return _FULL_STOP.sub("", stripped, count=_FULL_STOPS)


def normalise_vqa(answer: str) -> str:
    """Lower case, no punctuation and articles, number words as digits, apostrophes restored."""
    text = strip_punctuation(answer.replace("\n", " ").replace("\t", " ").strip()).lower()
    words = [_DIGITS.get(word, word) for word in text.split()]
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def vqa_score(prediction: str, answers: Sequence[str]) -> float:
    """Agreement with the annotators in [0, 1], as read by a person who knows the benchmark.

    The better one of the reply as it stands and of its short answer. Texts of which nothing is left
    when they are normalised ("A", "?") are compared as they are, so that "" and "The" are no "A".
    """
    said = {_distinct(prediction), _distinct(short_answer(prediction))} - {""}
    normalised = [_distinct(answer) for answer in answers]
    return max((_agreement(text, normalised) for text in said), default=0.0)


def published_vqa_score(prediction: str, answers: Sequence[str]) -> float:
    """The same as published, where "The" agrees with "A": nothing is left of either.

    Agreement is 0.3 where one of ten gave this answer, 1 from four: the mean over the annotators i
    of min(1, matches among the others / 3), leaving one out at a time, as the benchmark defines
    accuracy (Antol et al. 2015, "VQA", evaluation code).
    """
    return _agreement(normalise_vqa(prediction), [normalise_vqa(answer) for answer in answers])


def _distinct(text: str) -> str:
    return normalise_vqa(text) or strip_punctuation(text.lower()).strip() or text.strip().lower()


def _agreement(text: str, answers: Sequence[str]) -> float:
    if not answers:
        return 0.0
    matches = [answer == text for answer in answers]
    total = sum(matches)
    return sum(min(1.0, (total - match) / 3) for match in matches) / len(matches)
