"""From the rows of all ranks to the files that reports read."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from statistics import fmean
from typing import Any

from datasets import Dataset

from ..metrics.aggregate import Summary, aggregate
from ..metrics.aggregators import MEAN, aggregator_named
from ..metrics.figures import ScoredSample, evaluate
from .directory import RunDirectory
from .key import as_file_name
from .schema import Judgement, Reading, RunFigures, SampleRow, Status

DESCRIPTION = ("category", "question")
"""What rows take from the dataset; a sample that could not be read does not bring it along."""

FOR_METRICS = ["id", "group_id", "category", "answers", "metadata", "error"]


def complete_failures(rows: Sequence[SampleRow], dataset: Dataset) -> list[SampleRow]:
    """The rows, those of failed samples with category and question from the canonical dataset."""
    known = {sample["id"]: sample for sample in dataset.select_columns(["id", *DESCRIPTION])}
    return [
        replace(row, **{name: known[row.sample_id][name] for name in DESCRIPTION})
        if row.error is not None
        else row
        for row in rows
    ]


def scored_samples(dataset: Dataset, rows: Sequence[SampleRow] = ()) -> list[ScoredSample]:
    """What a benchmark's metric reads: the samples of a canonical dataset, with their rows' scores.

    A sample without a row has no score. Of rows that the source could not use, those are left out
    of which it is not known what they belong to.
    """
    by_id = {row.sample_id: row for row in rows}
    return [
        _scored(sample, by_id.get(sample["id"]))
        for sample in dataset.select_columns(FOR_METRICS)
        if sample["group_id"] or not sample["error"]
    ]


def _scored(sample: Mapping[str, Any], row: SampleRow | None) -> ScoredSample:
    return ScoredSample(
        id=sample["id"],
        group_id=sample["group_id"],
        category=sample["category"],
        parsed=row.parsed if row else "",
        answers=sample["answers"],
        score=row.score if row else None,
        metadata=json.loads(sample["metadata"] or "{}"),
        published=(row.published_parsed, row.published_score) if row else ("", None),
    )


def metrics(
    rows: Sequence[SampleRow],
    status: Status,
    benchmark: Mapping[str, Any] | None = None,
    judgement: Judgement | None = None,
    published: Mapping[str, Any] | None = None,
) -> RunFigures:
    """The figures of `metrics.json`: scores, and cost as measured on the cache.

    `n` counts failed samples; scores and costs are means over the others. `average_tokens` is over
    samples with visual tokens, and None where there are none. Scores are the mean of every task in
    percent, then the benchmark's own metrics, in percent but for those that `units` names.
    `headline` names the scores that a table over benchmarks quotes, `published` the same figures to
    the letter of the published evaluation (None where rows are older than this reading), `unread`
    counts replies that nobody could read.

    Args:
        benchmark: what `benchmark_scores` gives; None where the benchmark has no metric of its own.
        judgement: what the judge was asked.
        published: what `benchmark_scores` gives of the published reading.
    """
    task_scores, scores, categories = _figures(rows, benchmark)
    units = benchmark["units"] if benchmark else {}
    headline = list(benchmark["scores"] if benchmark else {})[:1] or list(task_scores)
    unread = Counter(row.task for row in rows if row.is_unread)
    shares = [row.average_tokens for row in rows if row.average_tokens is not None and row.n_visual]
    sizes = [row.kv_bytes for row in rows if row.kv_bytes is not None]
    return {
        "n": len(rows),
        "errors": sum(row.error is not None for row in rows),
        "average_tokens": fmean(shares) if shares else None,
        "kv_bytes_per_sample": fmean(sizes) if sizes else None,
        "scores": scores,
        "categories": categories,
        "units": units,
        "headline": headline,
        "published": _as_published(rows, published),
        "unread": unread.total(),
        "unread_by_task": {task: unread[task] for task in task_scores},
        "judge": judgement,
        "seconds": round(status.seconds, 3),
        "samples_per_second": status.samples_per_second,
    }


def _as_published(rows: Sequence[SampleRow], benchmark: Mapping[str, Any] | None) -> Reading | None:
    if any(row.score is not None and row.published_score is None for row in rows):
        return None  # a run that an older version began: figures over its newer rows would mislead
    _, scores, categories = _figures([row.as_published() for row in rows], benchmark)
    return {"scores": scores, "categories": categories}


def _figures(
    rows: Sequence[SampleRow], benchmark: Mapping[str, Any] | None
) -> tuple[dict[str, Summary], dict[str, Summary], dict[str, dict[str, Summary]]]:
    """Scores of tasks, all scores, and all categories."""
    tasks = aggregate(asdict(row) for row in rows)
    categories = tasks.pop("categories")
    benchmark = benchmark or {"scores": {}, "categories": {}}
    return (
        tasks,
        {**tasks, **benchmark["scores"]},
        {**categories, **benchmark["categories"]},
    )


def benchmark_scores(
    name: str, dataset: Dataset, rows: Sequence[SampleRow]
) -> dict[str, Any] | None:
    """The metrics that `data.metrics` names; None for "mean", which adds none to those of tasks."""
    if name == MEAN:
        return None
    aggregator = aggregator_named(name)
    result = evaluate(aggregator, scored_samples(dataset, rows))
    return asdict(result) | {"units": dict(aggregator.units)}


def write_tokens(run_dir: RunDirectory, ids: Sequence[str]) -> None:
    """`tokens.json`: the overlays of `ids`, in that order, as far as these were predicted."""
    folder = run_dir.path / "samples" / "overlays"
    paths = [folder / f"{as_file_name(sample_id)}.json" for sample_id in ids]
    entries = [json.loads(path.read_text()) for path in paths if path.exists()]
    run_dir.write_text("tokens.json", json.dumps(entries) + "\n")
