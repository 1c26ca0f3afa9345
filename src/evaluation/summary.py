"""A finished run in one small table on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from ..report.formats import interval, number, percent, size
from ..report.runs import Score


def summary_table(metrics: Mapping[str, Any]) -> Table:
    """One row: scores with 95 % interval, average tokens, KV cache and speed.

    Args:
        metrics: content of `metrics.json`.
    """
    columns = {"policy": metrics["policy"]}
    for task, figures in metrics["scores"].items():
        score = Score(**figures)
        columns[task] = f"{number(score.value)} ({interval(score)})"
    share, n_bytes, speed = (
        metrics[key] for key in ("average_tokens", "kv_bytes_per_sample", "samples_per_second")
    )
    columns["average tokens"] = percent(None if share is None else 100 * share)
    columns["KV/sample"] = "-" if n_bytes is None else size(n_bytes)
    columns["samples/s"] = number(speed)
    columns["n"] = str(metrics["n"])
    table = Table(title=f"{metrics['model']} on {metrics['data']}", title_justify="left")
    for name in columns:
        table.add_column(name, justify="left" if name == "policy" else "right")
    table.add_row(*columns.values())
    return table
