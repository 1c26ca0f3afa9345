"""Strings read off a page: how many of them, and how many of their characters, are right."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import replace

from .anls import levenshtein
from .answers import normalise
from .figures import Aggregator, Counts, Figure, ScoredSample
from .multiple_choice import shares


def strings_in_order(said: Sequence[str], wanted: Sequence[str]) -> int:
    """Length of the longest common subsequence: a string too many or too few costs only itself."""
    row = [0] * (len(wanted) + 1)
    for word in said:
        diagonal = 0
        for j, other in enumerate(wanted, start=1):
            kept = row[j]
            row[j] = diagonal + 1 if word == other else max(row[j], row[j - 1])
            diagonal = kept
    return row[-1]


def _tally(samples: Sequence[ScoredSample]) -> Counts:
    counts: dict[Hashable, float] = defaultdict(float)
    for sample in samples:
        if sample.score is None:
            continue
        wanted = normalise(sample.answers[0]).split() if sample.answers else []
        said = normalise(sample.parsed).split()  # by spaces or line breaks
        characters = "".join(wanted)
        edits = levenshtein("".join(said), characters)
        for name, count in (
            ("strings", len(wanted)),
            ("strings_right", strings_in_order(said, wanted)),
            ("characters", len(characters)),
            ("characters_right", max(0, len(characters) - edits)),
            ("pages", 1),
            ("pages_right", said == wanted),
        ):
            counts[name, sample.category] += count
    return counts


def _figures(counts: Counts) -> list[Figure]:
    strings, characters, pages = (
        shares(unit, f"{unit}_right", unit, counts) for unit in ("strings", "characters", "pages")
    )
    # Those of one page are not independent of each other.
    return [*(replace(figure, is_share=False) for figure in [*strings, *characters]), *pages]


STRINGS = Aggregator(cluster=lambda sample: sample.id, tally=_tally, figures=_figures)
"""strings: those that are read exactly, in reading order, of all strings of all pages; characters:
the characters of the answers less the edits that the reply needs; pages: those on which all that is
asked for is right and nothing is added. Intervals of the first two resample whole pages."""
