"""The leaderboard as a page that sorts, as Markdown, as JSON and as a picture."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .. import formats
from ..templates import rendered
from . import plot
from .rows import Row


@dataclass(frozen=True)
class Absent:
    """A row that there is not, and why."""

    label: str
    asked: float
    reason: str


def write(
    folder: Path,
    title: str,
    rows: Sequence[Row],
    absent: Sequence[Absent],
    facts: Mapping[str, str],
) -> list[Path]:
    """`leaderboard.html`, `.md`, `.json` and `.png` in the folder.

    Args:
        facts: what the rows share, such as the model, by name.
    """
    paths = [folder / f"leaderboard.{ending}" for ending in ("html", "md", "json", "png")]
    page, table, data, picture = paths
    page.write_text(_html(title, rows, absent, facts), "utf-8")
    table.write_text(markdown(rows, absent), "utf-8")
    content = {
        "facts": dict(facts),
        "rows": [_as_json(row) for row in rows],
        "absent": [asdict(one) for one in absent],
    }
    data.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    plot.png(rows, picture)
    return paths


def markdown(rows: Sequence[Row], absent: Sequence[Absent]) -> str:
    """The table, and below it what is not in it."""
    header = columns_of(rows)
    lines = [header, ["---", *["--:"] * (len(header) - 1)], *(cells_of(row, rows) for row in rows)]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    missing = "\n".join(f"- {told}: {reason}" for told, reason in grouped(absent))
    return f"{table}\n" + (f"\nNot in the table:\n\n{missing}\n" if missing else "")


def grouped(absent: Sequence[Absent]) -> list[tuple[str, str]]:
    """Which rows there are not, in words, and why: of one reason and the same shares together."""
    shares: dict[tuple[str, str], list[str]] = defaultdict(list)
    for one in absent:
        shares[one.label, one.reason].append(formats.share(one.asked))
    labels: dict[tuple[str, str], list[str]] = defaultdict(list)
    for (label, reason), asked in shares.items():
        labels[", ".join(asked), reason].append(label)
    return [(f"{', '.join(names)} at {asked}", reason) for (asked, reason), names in labels.items()]


def columns_of(rows: Sequence[Row]) -> list[str]:
    """Names of the columns."""
    return [
        *("Method", "Asked", "Average tokens", "KV cache / sample"),
        *tasks_of(rows),
        *("Mean", "Δ to vanilla", "Δ to plain", "Prefill", "Limit", "Selection", "Not dominated"),
    ]


def cells_of(row: Row, rows: Sequence[Row]) -> list[str]:
    """The cells of a row as text, in the order of `columns_of`."""
    scores = [row.scores.get(task) for task in tasks_of(rows)]
    speed = row.speed
    marks = [
        name
        for name, best in (("tokens", row.best_by_tokens), ("prefill", row.best_by_prefill))
        if best
    ]
    return [
        row.label,
        formats.share(row.asked),
        formats.share(row.average_tokens),
        formats.size(row.kv_bytes),
        *(
            formats.MISSING if s is None else f"{formats.number(s.value)} ({formats.interval(s)})"
            for s in scores
        ),
        formats.number(row.mean),
        *(_difference(found) for found in (row.to_vanilla, row.to_plain)),
        formats.MISSING if speed is None else f"{speed.reached:.2f}x",
        formats.MISSING if speed is None else f"{speed.limit:.2f}x",
        formats.MISSING if speed is None else f"{100 * speed.selection:.1f} %",
        ", ".join(marks),
    ]


def tasks_of(rows: Sequence[Row]) -> list[str]:
    """Tasks of any row."""
    return sorted({task for row in rows for task in row.scores})


def sort_keys(row: Row, rows: Sequence[Row]) -> list[str]:
    """What each cell is sorted by on the page."""
    values: list[float | None] = [
        row.asked,
        row.average_tokens,
        row.kv_bytes,
        *(None if (s := row.scores.get(task)) is None else s.value for task in tasks_of(rows)),
        row.mean,
        *(None if d is None else d.value for d in (row.to_vanilla, row.to_plain)),
    ]
    speed = row.speed
    values += [None] * 3 if speed is None else [speed.reached, speed.limit, speed.selection]
    values.append(float(row.best_by_tokens) + float(row.best_by_prefill))
    return [row.label, *("" if value is None else f"{value:.6f}" for value in values)]


def _html(
    title: str, rows: Sequence[Row], absent: Sequence[Absent], facts: Mapping[str, str]
) -> str:
    table = [
        (_kind_of(row), list(zip(cells_of(row, rows), sort_keys(row, rows), strict=True)))
        for row in rows
    ]
    return rendered(
        "leaderboard/leaderboard.html.jinja",
        title=title,
        columns=columns_of(rows),
        table=table,
        absent=grouped(absent),
        facts=facts,
        svg=plot.svg(rows),
    )


def _kind_of(row: Row) -> str:
    """The class of its line: in colour, where no other row dominates it."""
    if row.asked is None:
        return "vanilla"
    return "best" if row.best_by_tokens or row.best_by_prefill else ""


def _difference(found: Any) -> str:
    if found is None:
        return formats.MISSING
    return f"{formats.signed(found.value)} {formats.bounds(found)}"


def _as_json(row: Row) -> dict[str, Any]:
    return {**asdict(row), "scores": {name: asdict(score) for name, score in row.scores.items()}}
