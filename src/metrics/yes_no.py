"""Whether a reply says yes or no."""

from __future__ import annotations

from .vqa import strip_punctuation


def parse_yes_no(reply: str) -> str | None:
    """ "yes" or "no" where exactly one of the two words occurs, else None; never fails."""
    words = set(strip_punctuation(reply.lower()).split()) & {"yes", "no"}
    return words.pop() if len(words) == 1 else None
