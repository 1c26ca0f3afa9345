"""HallusionBench: questions, figures and questions over all their figures, answered right."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from functools import partial

from .figures import Aggregator, Counts, Figure, ScoredSample, share

GROUPS = {"fAcc": "figure_id", "qAcc": "question_id"}
"""What the questions that have to be right together share, beside subcategory and set."""


def _tally(by_category: bool, questions: Sequence[ScoredSample]) -> Counts:
    """Of one set: right things and all things, of each category and (under None) of all."""
    counts: dict[Hashable, float] = defaultdict(float)
    groups: dict[tuple[str, str | None, Hashable], list[bool]] = defaultdict(list)
    for question in questions:
        keys = {metric: str(question.metadata[key]) for metric, key in GROUPS.items()}
        if question.score is None:
            continue
        right, category = question.score == 1.0, question.category
        for part in (category, None):
            counts["n aAcc", part] += 1
            counts["aAcc", part] += right
            for metric, key in keys.items():
                groups[metric, part, (category, key) if by_category else key].append(right)
    for (metric, part, _), rights in groups.items():
        counts[f"n {metric}", part] += 1
        counts[metric, part] += all(rights)
    return counts


def _figures(counts: Counts) -> list[Figure]:
    names = sorted({str(key[1]) for key in counts if isinstance(key, tuple) and key[1] is not None})
    metrics = [
        share(metric, counts.get((metric, part), 0), counts.get((f"n {metric}", part), 0), part)
        for metric in ("aAcc", *GROUPS)
        for part in (None, *names)
    ]
    means = []
    for part in (None, *names):
        parts = [figure for figure in metrics if figure.category == part]
        values = [figure.value for figure in parts if figure.value is not None]
        mean = sum(values) / len(values) if values else None
        means.append(Figure("hallusion", mean, parts[0].n, category=part))
    return means + metrics


def _set(by_category: bool, sample: ScoredSample) -> Hashable:
    metadata = sample.metadata
    place = (str(metadata["subcategory"]), str(metadata["set_id"]))
    return (sample.category, *place) if by_category else place


HALLUSION = Aggregator(cluster=partial(_set, False), tally=partial(_tally, False), figures=_figures)
"""HallusionBench (Guan et al. 2024). aAcc: questions answered right; fAcc, qAcc: figures, and
questions over all their figures, with every answer right; hallusion: the mean of the three, the
figure of the paper's tables (inferred).

Groups are told apart by `subcategory`, `set_id` and `figure_id` or `question_id` of the metadata,
as the published evaluation does: "ocr" occurs in both categories, and its figures of the same
number count as one. Within a category, its own questions count."""

HALLUSION_BY_CATEGORY = Aggregator(
    cluster=partial(_set, True), tally=partial(_tally, True), figures=_figures
)
"""The same with figures told apart by category as well, as the benchmark's authors made them."""
