"""Which installed fonts can draw a text, and what stands for characters that none of them has."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from matplotlib.font_manager import FontEntry, fontManager
from matplotlib.ft2font import FT2Font

BASE = "DejaVu Sans"
"""The font of matplotlib; others are used for what it lacks."""
CHINESE = (
    *("Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "WenQuanYi Micro Hei"),
    *("WenQuanYi Zen Hei", "PingFang SC", "Hiragino Sans GB", "Microsoft YaHei", "SimHei"),
)
"""Fonts with Chinese characters, tried before all others that are installed."""
PLACEHOLDERS = "Last Resort"
"""Names of fonts that have every character, as a box, begin so."""


@dataclass(frozen=True)
class Lettering:
    """How a text is drawn.

    Attributes:
        families: fonts to be tried for each character, in this order.
        missing: its characters that no installed font has.
    """

    families: tuple[str, ...]
    missing: frozenset[str]

    def legible(self, text: str) -> str:
        """`text` with a note in the place of each run of characters that cannot be drawn."""
        runs = itertools.groupby(text, key=lambda character: character in self.missing)
        return "".join(_note(len("".join(run))) if lost else "".join(run) for lost, run in runs)


def lettering_for(text: str) -> Lettering:
    """The installed fonts that a text needs, as few as are found to do."""
    missing = {character for character in text if not character.isspace()}
    families = []
    for family, path in _fonts():
        covered = missing & _characters(path)
        if covered or family == BASE:
            families.append(family)
            missing -= covered
        if not missing:
            break
    return Lettering(tuple(families), frozenset(missing))


def _note(length: int) -> str:
    return f"[{length} character{'s' * (length > 1)} without a font]"


def _fonts() -> Iterator[tuple[str, str]]:
    """(family, file) of the installed fonts, one file of each."""
    files: dict[str, str] = {}
    for entry in sorted(fontManager.ttflist, key=_plainness):
        if not entry.name.startswith(PLACEHOLDERS):
            files.setdefault(entry.name, entry.fname)
    for family in dict.fromkeys((BASE, *CHINESE, *sorted(files))):
        if family in files:
            yield family, files[family]


def _plainness(entry: FontEntry) -> tuple[bool, bool]:
    return entry.style != "normal", str(entry.weight) not in ("400", "normal", "regular")


@cache
def _characters(path: str) -> frozenset[str]:
    try:
        return frozenset(map(chr, FT2Font(path).get_charmap()))
    except (OSError, RuntimeError):  # a font file that is broken or of an unknown kind
        return frozenset()
