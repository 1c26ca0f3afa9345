"""Which option a reply about a video means, to the letter of the benchmark's published rule."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .published_letters import published_letter

_VIDEO_MME_PREFIXES = (
    "The best answer is",
    "The correct answer is",
    "The answer is",
    "The answer",
    "The best option isThe correct option is",
    "Best answer:Best option:",
    "Answer:",
    "Option:",
)
"""As published: where a comma is missing, two make one that no reply holds."""


def published_mvbench(reply: str, choices: Sequence[str], answer: str) -> str | None:
    """MVBench: the first word decides where it is the answer's letter, else `published_letter`.

    The published rule takes any part of "(a)" for the answer "A", hence an empty reply, "(" and
    "." as well; here the word must hold the letter.
    """
    word = reply.lower().strip().split(" ")[0]
    letter, option = answer.lower(), f"({answer.lower()})"
    stripped = word.replace(".", "")
    if answer and (option in word or (letter in stripped and stripped in option)):
        return answer
    return published_letter(reply, choices)


def published_video_mme(reply: str, choices: Sequence[str], answer: str) -> str | None:
    """Video-MME: the first character A to D, even inside a word, else `published_letter`."""
    text = reply.strip()
    for prefix in _VIDEO_MME_PREFIXES:
        text = text.replace(prefix, "")
    match = re.search("[ABCD]", text)
    return match[0] if match else published_letter(reply, [c.strip(". \n") for c in choices])


def published_mlvu(reply: str, choices: Sequence[str], answer: str) -> str | None:
    """MLVU: the character before the first ")" (the whole reply where there is none) decides
    where it is the answer's letter, else `published_letter`."""
    end = reply.find(")")
    first = reply if end < 0 else reply[max(end - 1, 0) : end]
    return answer if first == answer else published_letter(reply, choices)
