"""Metrics over tasks of video benchmarks: Video-MME, MLVU."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence

from .figures import Aggregator, Counts, Figure, ScoredSample, share
from .multiple_choice import category_names, mean_over_categories, pooled, shares, tally_scores


def _tally_rules(samples: Sequence[ScoredSample]) -> Counts:
    counts: dict[Hashable, float] = defaultdict(float)
    for sample in samples:
        if sample.score is None:
            continue
        letter, score = sample.published
        counts["n", sample.category] += 1
        counts["right", sample.category] += sample.score
        counts["right_as_published", sample.category] += score or 0.0
        counts["differ", sample.category] += sample.parsed != letter
    return counts


def _rule_figures(counts: Counts) -> list[Figure]:
    return [
        *shares("video_mme", "right", "n", counts),
        *shares("video_mme_published_rule", "right_as_published", "n", counts),
        *shares("video_mme_rules_differ", "differ", "n", counts),
    ]


VIDEO_MME = Aggregator(
    cluster=lambda sample: sample.group_id, tally=_tally_rules, figures=_rule_figures
)
"""Video-MME (Fu et al. 2024), over all videos and by duration. video_mme: as the reading in hand
reads replies; video_mme_published_rule: as the published rule does; video_mme_rules_differ: the
share of replies in which the two find different letters."""

ORDER = ("order", "5_order")
"""The task that the paper's evaluation leaves out of M-Avg, by name and by name of its file."""


def _choice_figures(counts: Counts) -> list[Figure]:
    names = category_names(counts, "n")
    without_order = [name for name in names if name not in ORDER]
    return [
        _pooled_share("mlvu_m_avg", counts, without_order),
        _pooled_share("mlvu_m_avg_seven_tasks", counts, names),
        mean_over_categories("mlvu_m_avg_task_mean", counts),
        *(_pooled_share("mlvu_m_avg", counts, [name], name) for name in names),
    ]


def _pooled_share(
    metric: str, counts: Counts, names: list[str], category: str | None = None
) -> Figure:
    return share(metric, pooled(counts, "score", names), pooled(counts, "n", names), category)


MLVU = Aggregator(cluster=lambda sample: sample.id, tally=tally_scores, figures=_choice_figures)
"""MLVU, multiple choice (Zhou et al. 2024). mlvu_m_avg: pooled over six tasks, as the paper's
evaluation does; mlvu_m_avg_seven_tasks: pooled over all, as VLMEvalKit does since 2025-09;
mlvu_m_avg_task_mean: the mean of the tasks, as the benchmark's authors do."""


def _generation_figures(counts: Counts) -> list[Figure]:
    names = category_names(counts, "n")
    whole = _points(counts, names, None)
    return [whole, *(_points(counts, [name], name) for name in names)]


def _points(counts: Counts, names: list[str], category: str | None) -> Figure:
    n = pooled(counts, "n", names)
    value = 10 * pooled(counts, "score", names) / n if n else None
    return Figure("mlvu_g_avg", value, int(n), category=category)


MLVU_GENERATION = Aggregator(
    cluster=lambda sample: sample.id,
    tally=tally_scores,
    figures=_generation_figures,
    units={"mlvu_g_avg": "points from 2 to 10"},
)
"""MLVU, generation. mlvu_g_avg: the judge's two marks of 1 to 5 added, mean over the samples of
both tasks; a sample's score is the sum / 10."""
