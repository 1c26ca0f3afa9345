"""How a benchmark's own metrics are defined, and computed with their intervals."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .aggregate import Summary
from .intervals import percentile_interval, resampled, wilson

RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class ScoredSample:
    """What a benchmark's metric reads of a sample and of what the model made of it.

    Attributes:
        parsed: what was read from the reply; "" where nothing was.
        score: in [0, 1]; None where the sample failed, which leaves it out.
        metadata: what the benchmark's source keeps for its metric.
        published: what the published reading read, and its score.
    """

    id: str
    group_id: str
    category: str
    parsed: str
    answers: Sequence[str]
    score: float | None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    published: tuple[str, float | None] = ("", None)


@dataclass(frozen=True, slots=True)
class Figure:
    """A value of a metric, over all samples or over those of one category.

    Attributes:
        value: in the metric's unit; None where nothing was scored.
        n: how many scored things (samples, groups, images) it is taken over.
        is_share: whether it is the percentage of `n` things that are right: its interval is
            Wilson's then, and otherwise from the bootstrap.
        category: None = all of them together.
    """

    metric: str
    value: float | None
    n: int
    is_share: bool = False
    category: str | None = None


Counts = Mapping[Hashable, float]


@dataclass(frozen=True)
class Aggregator:
    """A benchmark's metrics, as functions of counts that add up over independent clusters.

    Attributes:
        cluster: what belongs together, such as the questions on one image: resampled as one.
        tally: counts of one cluster.
        figures: all figures from the counts of all clusters, the headline first.
        units: of the metrics that are not percentages, in words.
    """

    cluster: Callable[[ScoredSample], Hashable]
    tally: Callable[[Sequence[ScoredSample]], Counts]
    figures: Callable[[Counts], list[Figure]]
    units: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class BenchmarkScores:
    """`scores` by metric, the headline first; `categories` by metric and category."""

    scores: dict[str, Summary]
    categories: dict[str, dict[str, Summary]]


def share(metric: str, hits: float, n: float, category: str | None = None) -> Figure:
    """The percentage of n things that are right."""
    return Figure(metric, 100 * hits / n if n else None, int(n), is_share=True, category=category)


def evaluate(
    aggregator: Aggregator, samples: Iterable[ScoredSample], resamples: int = RESAMPLES
) -> BenchmarkScores:
    """All figures with 95 % intervals.

    Shares get the Wilson interval, others the percentile interval of a bootstrap that draws whole
    clusters (Efron and Tibshirani 1993, "An Introduction to the Bootstrap"), always with the same
    random numbers.
    """
    clusters: dict[Hashable, list[ScoredSample]] = defaultdict(list)
    for sample in samples:
        clusters[aggregator.cluster(sample)].append(sample)
    tallies = [aggregator.tally(members) for members in clusters.values()]
    figures = aggregator.figures(_total(tallies))
    needs_bootstrap = not all(figure.is_share for figure in figures)
    drawn = _resample(tallies, aggregator, resamples) if needs_bootstrap else {}
    scores: dict[str, Summary] = {}
    categories: dict[str, dict[str, Summary]] = defaultdict(dict)
    for figure in figures:
        summary = _summary(figure, drawn.get((figure.metric, figure.category), []))
        if figure.category is not None:
            categories[figure.metric][figure.category] = summary
        else:
            scores[figure.metric] = summary
    return BenchmarkScores(scores, dict(categories))


def _total(tallies: Iterable[Counts]) -> Counts:
    total: dict[Hashable, float] = defaultdict(float)
    for tally in tallies:
        for key, count in tally.items():
            total[key] += count
    return total


def _resample(
    tallies: Sequence[Counts], aggregator: Aggregator, resamples: int
) -> dict[tuple[str, str | None], list[float]]:
    """Values of each figure over bootstrap resamples of the clusters."""
    keys = list(_total(tallies))
    if not keys:
        return {}
    counts = np.array([[tally.get(key, 0) for key in keys] for tally in tallies], dtype=float)
    n = len(tallies)
    values: dict[tuple[str, str | None], list[float]] = defaultdict(list)
    for drawn in resampled(n, resamples):
        totals = np.bincount(drawn, minlength=n) @ counts
        for figure in aggregator.figures(dict(zip(keys, totals, strict=True))):
            if figure.value is not None and not figure.is_share:
                values[figure.metric, figure.category].append(figure.value)
    return values


def _summary(figure: Figure, drawn: Sequence[float]) -> Summary:
    if figure.value is None or figure.n == 0:
        return {"value": None, "low": None, "high": None, "n": 0}
    interval = wilson(figure.value / 100, figure.n) if figure.is_share else None
    if interval is not None:
        low, high = 100 * interval[0], 100 * interval[1]
    else:
        low, high = percentile_interval([*drawn] or [figure.value])
    # The percentiles of few clusters need not enclose the value, and a rare category may not have
    # been drawn at all.
    return {
        "value": figure.value,
        "low": min(low, figure.value),
        "high": max(high, figure.value),
        "n": figure.n,
    }
