"""Which option a reply about a video means: each video benchmark has a rule of its own."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .letters import parse_letter

_PREFIXES = (
    "The best answer is",
    "The correct answer is",
    "The answer is",
    "The answer",
    "Answer:",
    "Option:",
)
_UNPUBLISHED_PREFIXES = (
    "The best option is",
    "The correct option is",
    "Best answer:",
    "Best option:",
)
"""Listed in the published code as well, where missing commas make them match nothing."""


def parse_mvbench(reply: str, choices: Sequence[str], answer: str) -> str | None:
    """MVBench: the first word decides where it is the answer's letter, else `parse_letter`.

    The published rule takes any part of "(a)" for the answer "A", hence an empty reply, "(" and
    "." as well; here the word must hold the letter.
    """
    words = reply.lower().split()
    word = words[0].replace(".", "") if words else ""
    option = f"({answer.lower()})"
    if option in word or (answer.lower() in word and word in option):
        return answer
    return parse_letter(reply, choices)


def parse_video_mme(reply: str, choices: Sequence[str], answer: str) -> str | None:
    """Video-MME: the first of the letters A to D that stands alone, else the first one anywhere.

    Differs from the published rule, `parse_video_mme_published`, which would read "B" from "Best
    answer: C".
    """
    text = _without_prefixes(reply, _UNPUBLISHED_PREFIXES + _PREFIXES)
    alone = re.search(r"\b[ABCD]\b", text)
    return alone[0] if alone else _first_letter(text)


def parse_video_mme_published(reply: str, choices: Sequence[str], answer: str) -> str | None:
    """Video-MME as published: the first character A to D, even inside a word."""
    return _first_letter(_without_prefixes(reply, _PREFIXES))


def parse_mlvu(reply: str, choices: Sequence[str], answer: str) -> str | None:
    """MLVU: the character before the first ")" (the whole reply where there is none) decides
    where it is the answer's letter, else `parse_letter`."""
    end = reply.find(")")
    first = reply if end < 0 else reply[max(end - 1, 0) : end]
    return answer if first == answer else parse_letter(reply, choices)


def _without_prefixes(reply: str, prefixes: Sequence[str]) -> str:
    text = reply.strip()
    for prefix in prefixes:
        text = text.replace(prefix, "")
    return text


def _first_letter(text: str) -> str | None:
    match = re.search("[ABCD]", text)
    return match[0] if match else None
