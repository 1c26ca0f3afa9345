"""From scored samples to the figures of a table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypedDict

from .intervals import wilson


class Summary(TypedDict):
    """A score in percent, or in its metric's unit, with its 95 % interval; None where n = 0.

    Attributes:
        n: number of things that were scored.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int


def aggregate(rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean score and 95 % interval of every task, and of every category within it.

    Args:
        rows: sample rows with `task`, `category` and `score` in [0, 1]; a score of None (the sample
            failed) is left out of means and of n.

    Returns:
        `{"vqa": Summary, ..., "categories": {"vqa": {"count": Summary, ...}, ...}}`
    """
    by_task: dict[str, list[float]] = defaultdict(list)
    by_category: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        scores = [] if row["score"] is None else [float(row["score"])]
        by_task[row["task"]] += scores
        by_category[row["task"]][row["category"]] += scores
    categories = {
        task: {name: _summary(scores) for name, scores in sorted(members.items())}
        for task, members in sorted(by_category.items())
    }
    tasks = {task: _summary(scores) for task, scores in sorted(by_task.items())}
    return {**tasks, "categories": categories}


def _summary(scores: Sequence[float]) -> Summary:
    n = len(scores)
    mean = sum(scores) / n if n else 0.0
    interval = wilson(mean, n)
    if interval is None:
        return {"value": None, "low": None, "high": None, "n": 0}
    low, high = interval
    return {"value": 100 * mean, "low": 100 * low, "high": 100 * high, "n": n}
