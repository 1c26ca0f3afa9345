"""Metrics over multiple-choice questions: MMBench's rotations, means over categories."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence

from .figures import Aggregator, Counts, Figure, ScoredSample, share


def category_names(counts: Counts, name: str) -> list[str]:
    """The categories of counts with keys (name, category), sorted."""
    keys = (key for key in counts if isinstance(key, tuple) and key[0] == name)
    return sorted({str(key[1]) for key in keys})


def pooled(counts: Counts, name: str, categories: Sequence[str]) -> float:
    return sum(counts.get((name, category), 0) for category in categories)


def shares(metric: str, hits: str, n: str, counts: Counts) -> list[Figure]:
    """The share of hits over all categories, then in each."""
    names = category_names(counts, n)
    whole = share(metric, pooled(counts, hits, names), pooled(counts, n, names))
    return [whole] + [
        share(metric, counts.get((hits, name), 0), counts[n, name], name) for name in names
    ]


def _tally_rotations(rotations: Sequence[ScoredSample]) -> Counts:
    """A question asked once for every rotation of its options is right if all rotations are."""
    scores = [rotation.score for rotation in rotations]
    base = next((sample for sample in rotations if sample.id == sample.group_id), None)
    category = (base or rotations[0]).category
    counts: dict[Hashable, float] = defaultdict(float)
    if None not in scores or 0.0 in scores:  # one wrong rotation settles it, failed ones or not
        counts["questions", category] += 1
        counts["all_right", category] += all(score == 1.0 for score in scores)
    if base is not None and base.score is not None:
        counts["bases", category] += 1
        counts["base_right", category] += base.score == 1.0
    return counts


def _circular_figures(counts: Counts) -> list[Figure]:
    return shares("circular_accuracy", "all_right", "questions", counts) + shares(
        "vanilla_accuracy", "base_right", "bases", counts
    )


CIRCULAR = Aggregator(
    cluster=lambda sample: sample.group_id, tally=_tally_rotations, figures=_circular_figures
)
"""MMBench. circular_accuracy: the share of questions answered right under every rotation of their
options; vanilla_accuracy: the same with the unrotated options alone. A group holds the rotations
of a question, and the id of the unrotated one is the group's.

Of a subset that cuts groups apart, the rotations at hand count: evaluate whole groups."""


def tally_scores(samples: Sequence[ScoredSample]) -> Counts:
    """Sum and number of scores by category."""
    counts: dict[Hashable, float] = defaultdict(float)
    for sample in samples:
        if sample.score is not None:
            counts["score", sample.category] += sample.score
            counts["n", sample.category] += 1
    return counts


def mean_over_categories(metric: str, counts: Counts) -> Figure:
    """The unweighted mean of the categories' means, in percent."""
    names = [name for name in category_names(counts, "n") if counts["n", name]]
    means = [100 * counts.get(("score", name), 0) / counts["n", name] for name in names]
    n = int(pooled(counts, "n", names))
    return Figure(metric, sum(means) / len(means) if means else None, n)


def mean_over_samples(metric: str, counts: Counts) -> Figure:
    """The mean score of all samples, in percent."""
    names = category_names(counts, "n")
    return share(metric, pooled(counts, "score", names), pooled(counts, "n", names))


CATEGORY_MEAN = Aggregator(
    cluster=lambda sample: sample.group_id,
    tally=tally_scores,
    figures=lambda counts: [mean_over_categories("category_mean", counts)],
)
"""category_mean: every category has the same weight, however many samples it has."""

POOLED = Aggregator(
    cluster=lambda sample: sample.group_id,
    tally=tally_scores,
    figures=lambda counts: [mean_over_samples("pooled_mean", counts)],
)
"""pooled_mean: the mean score of all samples, for data that mix tasks."""
