"""OCRBench: a count of right answers in five reported categories."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence

from .figures import Aggregator, Counts, Figure, ScoredSample, share
from .multiple_choice import category_names, pooled

RECOGNITION = "Text Recognition"
"""The reported category of all question types that end in "Recognition", but for formulas."""

_RECOGNITION_TYPES = (
    "Regular Text Recognition",
    "Irregular Text Recognition",
    "Artistic Text Recognition",
    "Handwriting Recognition",
    "Digit String Recognition",
    "Non-Semantic Text Recognition",
)


def reported_category(question_type: str) -> str:
    """The category of the published table that a question type belongs to."""
    return RECOGNITION if question_type in _RECOGNITION_TYPES else question_type


def _tally(samples: Sequence[ScoredSample]) -> Counts:
    counts: dict[Hashable, float] = defaultdict(float)
    for sample in samples:
        if sample.score is not None:
            category = reported_category(sample.category)
            counts["n", category] += 1
            counts["right", category] += sample.score == 1.0
    return counts


def _figures(counts: Counts) -> list[Figure]:
    names = category_names(counts, "n")
    right, n = pooled(counts, "right", names), pooled(counts, "n", names)
    total = Figure("ocrbench_total", 1000 * right / n if n else None, int(n))
    parts = [
        Figure(
            "ocrbench",
            100 * counts.get(("right", name), 0) / n,
            int(counts["n", name]),
            False,
            name,
        )
        for name in names
        if counts["n", name]
    ]
    return [share("ocrbench", right, n), total, *parts]


OCRBENCH = Aggregator(
    cluster=lambda sample: sample.id,
    tally=_tally,
    figures=_figures,
    units={
        "ocrbench": "percent (categories: points that add up to it)",
        "ocrbench_total": "points of 1000",
    },
)
"""OCRBench (Liu et al. 2023). ocrbench: right answers / 10, as in the paper's tables;
ocrbench_total: on the benchmark's own scale. Of a subset, both are scaled to 1000 samples. A
category shows its right answers / 10 as well, so that categories add up to the total."""
