"""Which option a reply means, to the letter of the published evaluations."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from .options import NO_OPTION, REFUSALS, options_or_letters

VERSIONS = ("fork", "upstream")
"""fork: as the paper's evaluation read replies (VLMEvalKit at its 2026-02 fork); upstream: as
VLMEvalKit does since 2025-08, which ignores letters far from the end of a reply."""

_FAILED_REQUEST = "Failed to obtain answer via API"
_PUNCTUATION = str.maketrans(dict.fromkeys(".()[],:;!*#{}", " "))
_ANSWER_IS = re.compile(r"answer\s+is\s+\**([A-D])", re.IGNORECASE)
_TAIL = 4


def published_letter(reply: str, choices: Sequence[str], version: str = "fork") -> str | None:
    """The letter of the option that `reply` means, `NO_OPTION`, or None where it is unclear.

    In this order: a refusal; the only option letter that stands alone as a word; the only option
    whose text occurs in the reply. Never fails on a text.

    Args:
        choices: option texts in the order A, B, C, ...; none at all stand for A to D.
        version: one of `VERSIONS`.

    Raises:
        ValueError: unknown version.
    """
    if version not in VERSIONS:
        raise ValueError(f"parser version {version!r} is unknown: choose one of {list(VERSIONS)}")
    options = options_or_letters(choices)
    letter = None
    if _FAILED_REQUEST not in reply:
        if any(refusal in reply for refusal in REFUSALS):
            return NO_OPTION
        letter = _lone_letter(reply, options, version)
        if letter is None and version == "upstream":
            letter = _stated_letter(reply, options)
    return letter or _only_text(reply, options, version)


def _lone_letter(reply: str, options: Mapping[str, str], version: str) -> str | None:
    words = reply.translate(_PUNCTUATION).split()
    found = [letter for letter in options if letter in words]
    if not found:
        return NO_OPTION if NO_OPTION in words else None
    if len(found) > 1:
        return None
    in_tail = words.index(found[0]) >= len(words) - _TAIL
    return found[0] if version == "fork" or in_tail else None


def _stated_letter(reply: str, options: Mapping[str, str]) -> str | None:
    match = _ANSWER_IS.search(reply)
    letter = match[1].upper() if match else None
    return letter if letter in options else None


def _only_text(reply: str, options: Mapping[str, str], version: str) -> str | None:
    if version == "upstream" and len(reply) > 2 * sum(map(len, options.values())):
        return None
    text = reply.lower()
    found = [letter for letter, option in options.items() if option and option.lower() in text]
    return found[0] if len(found) == 1 else None
