"""Scores without certain samples: those that a layer was chosen on, for example."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import fmean

from ..metrics.aggregate import aggregate
from ..runs.read import Figures, Row, Run, Score, scores_by_category


@dataclass(frozen=True)
class PartialRun(Run):
    """A run as if it had been without the samples `left_out`."""

    left_out: frozenset[str] = frozenset()

    def samples(self) -> list[Row]:
        return [row for row in super().samples() if row["sample_id"] not in self.left_out]


@dataclass(frozen=True)
class Samples:
    """Samples of one benchmark; ids say nothing without its name.

    Attributes:
        data: the benchmark's.
    """

    data: str
    ids: frozenset[str]


def leave_out(run: Run, without: Samples) -> Run:
    """The run with all figures over the other samples; the run itself where it has none of them.

    Scores are then the means of tasks: metrics of a benchmark's own (F1, groups of questions) need
    more than the rows, and are left out too.
    """
    if run.data != without.data:
        return run
    rows = run.samples()
    kept = [row for row in rows if row["sample_id"] not in without.ids]
    if len(kept) == len(rows):
        return run
    figures = _figures(kept)
    as_published = [
        row for row in run.as_published().samples() if row["sample_id"] not in without.ids
    ]
    shares = [row["average_tokens"] for row in kept if row["n_visual"]]
    sizes = [row["kv_bytes"] for row in kept if row["kv_bytes"] is not None]
    given = {field.name: getattr(run, field.name) for field in fields(Run)}
    return PartialRun(
        **given
        | {
            "n": len(kept),
            "errors": sum(row["error"] is not None for row in kept),
            "average_tokens": fmean(shares) if shares else None,
            "kv_bytes": fmean(sizes) if sizes else None,
            "scores": dict(figures.scores),
            "headline": (),
            "units": {},
            "categories": figures.categories,
            "published": run.published and _figures(as_published),
            "unread": None if run.unread is None else sum(map(_is_unread, kept)),
        },
        left_out=without.ids,
    )


def _figures(rows: Sequence[Row]) -> Figures:
    scores = aggregate(rows)
    categories = scores_by_category(scores.pop("categories"))
    return Figures({task: Score(**score) for task, score in scores.items()}, categories)


def _is_unread(row: Row) -> bool:
    return row["error"] is None and not row["settled"] and not row["judge"]


def read_samples(path: str) -> Samples:
    """The samples of a `layer_choice.json`.

    Raises:
        ValueError: the file is missing, or does not name `data` and `ids`.
    """
    try:
        choice = json.loads(Path(path).expanduser().read_text("utf-8"))
        return Samples(str(choice["data"]), frozenset(map(str, choice["ids"])))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"job.without={path} cannot be read ({type(error).__name__}: {error}): give a "
            "layer_choice.json of job=select_layer"
        ) from error
