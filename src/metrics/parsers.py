"""Published ways to read a letter from a reply, by the name that `parser:` of a benchmark gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from .published_letters import published_letter
from .video_letters import published_mlvu, published_mvbench, published_video_mme

Parser = Callable[[str, Sequence[str], str], str | None]
"""(reply, option texts, the answer's letter) -> the letter read, or None where it is unclear."""

DEFAULT_PARSER = "fork"
WITHOUT_FINAL_STOP = "without_final_stop"
"""Parser of RealWorldQA, whose short answers may end in a full stop; it reads letters as "fork"."""


def _versioned(version: str, reply: str, choices: Sequence[str], answer: str) -> str | None:
    return published_letter(reply, choices, version)


VERSIONED: Mapping[str, Parser] = {
    "fork": partial(_versioned, "fork"),
    "upstream": partial(_versioned, "upstream"),
}
"""See `ivcprune.metrics.published_letters.VERSIONS`; tasks without letters read both alike."""

PARSERS: Mapping[str, Mapping[str, Parser]] = {
    "multiple_choice": {**VERSIONED, WITHOUT_FINAL_STOP: VERSIONED["fork"]},
    "video_multiple_choice": {
        **VERSIONED,
        "mlvu": published_mlvu,
        "mvbench": published_mvbench,
        "video_mme": published_video_mme,
    },
}
"""How letters are read, by task and name."""
