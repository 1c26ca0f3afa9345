"""The figures of a run under fixed names, the same in CSV and W&B."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import fmean
from typing import Any

from ..runs.grouping import comparable
from ..runs.read import Run


def summary(run: Run, beside: Iterable[Run] = ()) -> dict[str, Any]:
    """The figures of a run, by name.

    Scores and their 95 % bounds are percentages where the benchmark has no unit of its own,
    `average_tokens` is a share in [0, 1], `kv_bytes_per_sample` is in bytes, `seconds_per_sample`
    is the wall-clock time of this run and no measurement of latency.

    Args:
        beside: runs of the same experiment. Where vanilla is among them, and comparable,
            `relative_score` is the mean over the headline scores of this run as a percentage of
            vanilla's (the paper's Rel. Avg. for one benchmark), and `kv_share` the size of the
            cache as a share of vanilla's; else both are None.
    """
    vanilla = _vanilla_of(run, beside)
    shares = [score.value for name, score in run.shown.items() if name not in run.units]
    figures: dict[str, Any] = {
        "policy": run.policy,
        "model": run.model,
        "family": run.config.get("model", {}).get("family"),
        "data": run.data,
        "n": run.n,
        "errors": run.errors,
        "unread": run.unread,
        "score": _mean(shares),
        "relative_score": _relative_score(run, vanilla),
        "average_tokens": run.average_tokens,
        "kv_bytes_per_sample": run.kv_bytes,
        "kv_share": _ratio(run.kv_bytes, vanilla.kv_bytes if vanilla else None),
        "seconds_per_sample": _ratio(run.seconds, run.n),
    }
    for stage, layer in run.layers.items():
        figures[f"layer/{stage}"] = layer
    for task, score in run.scores.items():
        figures[f"score/{task}"] = score.value
        figures[f"score/{task}_low"] = score.low
        figures[f"score/{task}_high"] = score.high
        figures[f"score/{task}_n"] = score.n
    for task, score in (run.published.scores if run.published else {}).items():
        figures[f"published/{task}"] = score.value
    return figures


def _vanilla_of(run: Run, beside: Iterable[Run]) -> Run | None:
    for group in comparable(beside):
        if run.key in {member.key for member in group}:
            return next((member for member in group if member.is_vanilla), None)
    return run if run.is_vanilla else None


def _relative_score(run: Run, vanilla: Run | None) -> float | None:
    reference = vanilla.shown if vanilla else {}
    ratios = [
        _ratio(score.value, reference[name].value)
        for name, score in run.shown.items()
        if name in reference
    ]
    mean = _mean(ratios)
    return None if mean is None else 100 * mean


def _ratio(value: float | None, whole: float | None) -> float | None:
    return None if value is None or not whole else value / whole


def _mean(values: Iterable[float | None]) -> float | None:
    """The mean; None where a value is missing, or all are."""
    known = list(values)
    present = [value for value in known if value is not None]
    return fmean(present) if present and len(present) == len(known) else None
