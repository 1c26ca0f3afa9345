"""A finished run in one small table on the terminal."""

from __future__ import annotations

from rich import box
from rich.table import Table

from ..metrics.aggregate import Summary
from ..report.console import table_console
from ..report.formats import MISSING, differing_readings, interval, number, percent, size
from ..runs.read import Score
from ..runs.schema import Judgement, Metrics


def print_summary(metrics: Metrics) -> None:
    """One row: scores (95 % interval), average share of tokens in the KV cache, its size, speed.

    Of a benchmark with metrics of its own the headline stands in the table, the others below it.

    Args:
        metrics: content of `metrics.json`.
    """
    console = table_console()
    console.print(_table(metrics))
    others = [
        f"{name} {_in_words(figures)}"
        for name, figures in metrics["scores"].items()
        if name not in _headline(metrics)
    ]
    if others:
        console.print(", ".join(others), highlight=False)
    for line in (judgement_in_words(metrics.get("judge")), *_readings_in_words(metrics)):
        if line:
            console.print(line, highlight=False)


def _table(metrics: Metrics) -> Table:
    cells = {"policy": metrics["policy"]}
    for name in _headline(metrics):
        cells[name] = _in_words(metrics["scores"][name])
    share, n_bytes = metrics["average_tokens"], metrics["kv_bytes_per_sample"]
    cells["tokens"] = percent(None if share is None else 100 * share)
    cells["KV/sample"] = MISSING if n_bytes is None else size(n_bytes)
    cells["samples/s"] = number(metrics.get("samples_per_second"))
    cells["unread"] = str(metrics.get("unread", MISSING))
    cells["n"] = str(metrics["n"])
    title = f"{metrics['model']} on {metrics['data']}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in cells:
        table.add_column(name, justify="left" if name == "policy" else "right", no_wrap=True)
    table.add_row(*cells.values())
    return table


def _headline(metrics: Metrics) -> list[str]:
    return metrics.get("headline") or list(metrics["scores"])


def _in_words(figures: Summary) -> str:
    score = Score(**figures)
    return f"{number(score.value)} ({interval(score)})"


def _readings_in_words(metrics: Metrics) -> list[str]:
    published = metrics.get("published")
    scores, others = (
        {name: figures["value"] for name, figures in reading.items()}
        for reading in (metrics["scores"], published["scores"] if published else {})
    )
    return differing_readings(scores, others)


def judgement_in_words(judge: Judgement | None) -> str:
    """What exact matching could not read, and what became of it; "" where it read all.

    Args:
        judge: what it was asked.
    """
    if not judge or not judge["cases"]:
        return ""
    cases, settled = judge["cases"], judge["settled"]
    words = f"{cases} replies could not be read by exact rules: judge={judge['name']}"
    if obstacle := judge.get("obstacle"):
        words += f" was not asked, for {obstacle}"
    else:
        words += f" settled {settled}"
    if settled < cases:
        words += (
            f"; {cases - settled} count as wrong in the published reading, or are left out where "
            "only a judge can tell"
        )
    return words
