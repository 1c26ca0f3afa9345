"""A finished run in one small table on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table

from ..report.formats import MISSING, interval, number, percent, size
from ..report.runs import Score
from .console import table_console


def print_summary(metrics: Mapping[str, Any]) -> None:
    """One row: scores (95 % interval), average share of tokens in the KV cache, its size, speed.

    Args:
        metrics: content of `metrics.json`.
    """
    table_console().print(_table(metrics))


def _table(metrics: Mapping[str, Any]) -> Table:
    cells = {"policy": metrics["policy"]}
    for task, figures in metrics["scores"].items():
        score = Score(**figures)
        cells[task] = f"{number(score.value)} ({interval(score)})"
    share, n_bytes = metrics["average_tokens"], metrics["kv_bytes_per_sample"]
    cells["tokens"] = percent(None if share is None else 100 * share)
    cells["KV/sample"] = MISSING if n_bytes is None else size(n_bytes)
    cells["samples/s"] = number(metrics["samples_per_second"])
    cells["n"] = str(metrics["n"])
    title = f"{metrics['model']} on {metrics['data']}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in cells:
        table.add_column(name, justify="left" if name == "policy" else "right", no_wrap=True)
    table.add_row(*cells.values())
    return table
