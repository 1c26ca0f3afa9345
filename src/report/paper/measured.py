"""The figures of finished runs for the cells of a table of the paper."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from ...runs.read import VANILLA, Row, Run, Score
from ..paired import paired_differences
from ..pooling import pool_scores
from .published import Cell, Column
from .timings import FIGURES, Timings

MEGABYTE = 1e6
"""Bytes (inferred: the paper does not say whether its MB are 10^6 or 2^20)."""


LAYER = "layer"
"""The figure of a sweep over selection layers: the best one, of equal ones the earliest."""


@dataclass(frozen=True)
class Figure:
    """One measured figure.

    Attributes:
        low, high: 95 % interval; None where the figure has none.
        differences: score minus vanilla's score of each sample that both runs scored; empty
            without vanilla, for vanilla itself, and where rows cannot be told apart by category.
    """

    value: float
    low: float | None = None
    high: float | None = None
    differences: tuple[float, ...] = ()


class Measurements:
    """The newest finished run of every cell.

    Args:
        runs: finished runs; of several of one cell, the one that finished last counts.
        timings: of Tab. 3's columns; None without a measurement.
    """

    def __init__(self, runs: Iterable[Run], timings: Timings | None = None) -> None:
        self.timings = timings
        ordered = sorted(runs, key=lambda run: run.finished)
        self.runs = {Cell(run.model, run.data, run.policy): run for run in ordered}
        self._layers: dict[Cell, dict[int, Run]] = {}
        self._rows: dict[Cell, list[Row]] = {}
        for run in ordered:
            if (layer := _selection_layer(run)) is not None:
                self._layers.setdefault(Cell(run.model, run.data, run.policy), {})[layer] = run

    def figure(self, column: Column, model: str, policy: str) -> Figure | None:
        """The figure of a row in a column; None where a run of it is missing or has no score."""
        if column.figure in FIGURES:
            return self._time(column.figure, model, policy)
        cells = [Cell(model, data, policy) for data in column.data]
        if any(cell not in self.runs for cell in cells):
            return None
        if column.figure == LAYER:
            scores_by_layer = self.layer_scores(cells[0])
            best = max(scores_by_layer, key=lambda n: (scores_by_layer[n], -n), default=None)
            return None if best is None else Figure(best)
        runs = [self.runs[cell] for cell in cells]
        if column.figure is not None:
            value = _cost(column.figure, runs)
            return None if value is None else Figure(value)
        scores = [score for run in runs if (score := _score(run, column.category)) is not None]
        if len(scores) < len(runs):
            return None
        return _pooled(scores, self._differences(column, cells))

    def _time(self, figure: str, model: str, policy: str) -> Figure | None:
        time = None if self.timings is None else self.timings.figure(model, policy, figure)
        return None if time is None else Figure(time)

    def layer_scores(self, cell: Cell) -> dict[int, float]:
        """Score by selection layer, ascending, of the runs that name one."""
        scores = {layer: _score(run, None) for layer, run in self._layers.get(cell, {}).items()}
        return {n: s.value for n, s in sorted(scores.items()) if s and s.value is not None}

    def average_tokens(self, model: str, policy: str, data: Iterable[str]) -> float | None:
        """Measured share of the visual tokens in percent, mean over benchmarks; None without."""
        found = [self.runs.get(Cell(model, name, policy)) for name in data]
        shares = [run.average_tokens for run in found if run and run.average_tokens is not None]
        return 100 * fmean(shares) if shares else None

    def _differences(self, column: Column, cells: Sequence[Cell]) -> tuple[float, ...]:
        differences: list[float] = []
        for cell in cells:
            vanilla = replace(cell, policy=VANILLA)
            if cell == vanilla or vanilla not in self.runs:
                return ()
            pair = [self.samples(c, column.category) for c in (cell, vanilla)]
            for of_task in paired_differences(*pair).values():
                differences += of_task
        return tuple(differences)

    def samples(self, cell: Cell, category: str | None = None) -> list[Row]:
        """The rows of a run that is there, of one category where it is given."""
        if cell not in self._rows:
            self._rows[cell] = self.runs[cell].samples()
        return [row for row in self._rows[cell] if category in (None, row["category"])]


def _selection_layer(run: Run) -> int | None:
    """The layer that the run's configuration names; None for the model's own."""
    stages = (run.config.get("policy") or {}).get("stages") or {}
    layer = (stages.get("select") or {}).get("layer")
    return layer if isinstance(layer, int) else None


def _pooled(scores: Sequence[Score], differences: tuple[float, ...]) -> Figure:
    """One score as it is; several over all their samples."""
    score = scores[0] if len(scores) == 1 else pool_scores(scores)
    return Figure(score.value or 0.0, score.low, score.high, differences)


def _score(run: Run, category: str | None) -> Score | None:
    """The headline score, or that of a category; None where nothing was scored."""
    score = _headline(run) if category is None else _of_category(run, category)
    return score if score is not None and score.value is not None else None


def _headline(run: Run) -> Score | None:
    shown = list(run.shown.values())
    if len(shown) == 1:
        return shown[0]
    # A benchmark of several tasks without a metric of its own: they count equally.
    values = [score.value for score in shown if score.value is not None]
    n = sum(score.n for score in shown)
    return Score(fmean(values), None, None, n) if values else None


def _of_category(run: Run, category: str) -> Score | None:
    """The category under the headline metric, else under the first metric that has it."""
    names = [*run.headline, *(name for name in run.categories if name not in run.headline)]
    of_metrics = [run.categories.get(name, {}) for name in names]
    return next((scores[category] for scores in of_metrics if category in scores), None)


def _cost(figure: str, runs: Sequence[Run]) -> float | None:
    """Costs that accuracy runs measure; times are none of them, see `timings`."""
    if figure == "kv_megabytes":
        sizes = [run.kv_bytes for run in runs if run.kv_bytes is not None]
        return fmean(sizes) / MEGABYTE if sizes else None
    return None
