"""What the report says of the runs of one experiment: which are comparable, and how they differ."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from ..runs.grouping import comparable, describe_setting
from ..runs.read import Run, Score
from .labels import RunLabel, label_runs
from .paired import Difference, mean_difference, paired_differences


@dataclass(frozen=True)
class Cell:
    """Result of one policy on one task.

    Attributes:
        relative: percent of the vanilla score; None without vanilla.
        difference: to vanilla on the same samples; None without vanilla and for vanilla itself.
        rank: 1 = best and 2 = second best pruned policy; None otherwise.
    """

    score: Score
    relative: float | None = None
    difference: Difference | None = None
    rank: int | None = None


@dataclass(frozen=True)
class Entry:
    """One row of the table: a run beside the vanilla run of its group.

    Attributes:
        name: the policy, and the settings that tell it from other runs of that policy.
        cells: by task; a task without samples in this run is missing.
        kv_relative: percent of the vanilla KV cache.
        average: mean over tasks of `Cell.relative`.
        average_rank: as `Cell.rank`, by `average`.
        difference: mean over tasks of the paired differences to vanilla.
    """

    run: Run
    name: RunLabel
    cells: dict[str, Cell]
    kv_relative: float | None
    average: float | None
    difference: Difference | None
    average_rank: int | None = None

    @property
    def label(self) -> str:
        return self.name.text


@dataclass(frozen=True)
class Comparison:
    """Runs of one group; `setting` says in words what they share."""

    model: str
    data: str
    setting: str
    tasks: tuple[str, ...]
    entries: tuple[Entry, ...]

    @property
    def vanilla(self) -> Entry | None:
        return next((entry for entry in self.entries if entry.run.is_vanilla), None)

    def unit(self, task: str) -> str:
        """Of the scores of a task, "%" where the benchmark has none of its own."""
        units = [entry.run.units[task] for entry in self.entries if task in entry.run.units]
        return units[0] if units else "%"

    @property
    def n(self) -> int:
        return max(entry.run.n for entry in self.entries)


def compare(runs: Sequence[Run]) -> list[Comparison]:
    """One comparison per group of comparable runs: vanilla first, then the best mean score."""
    return [_compare(group) for group in comparable(runs)]


def _compare(runs: Sequence[Run]) -> Comparison:
    vanilla = next((run for run in runs if run.is_vanilla), None)
    tasks = tuple(sorted({task for run in runs for task in run.shown}))
    labels = label_runs(runs)
    entries = [_entry(run, labels[run.key], vanilla) for run in runs]
    entries.sort(key=lambda entry: (not entry.run.is_vanilla, -_mean_score(entry.run), entry.label))
    first = runs[0]
    return Comparison(
        first.model, first.data, describe_setting(runs), tasks, _ranked(entries, tasks)
    )


def _entry(run: Run, name: RunLabel, vanilla: Run | None) -> Entry:
    if vanilla is None:
        cells = {task: Cell(score) for task, score in run.shown.items()}
        return Entry(run, name, cells, None, None, None)
    pairs = {} if run is vanilla else paired_differences(run.samples(), vanilla.samples())
    cells = {}
    for task, score in run.shown.items():
        before = vanilla.scores[task].value if task in vanilla.scores else None
        difference = mean_difference([pairs[task]]) if task in pairs else None
        cells[task] = Cell(score, _percent(score.value, before), difference)
    relatives = [cell.relative for cell in cells.values() if cell.relative is not None]
    return Entry(
        run=run,
        name=name,
        cells=cells,
        kv_relative=_percent(run.kv_bytes, vanilla.kv_bytes),
        average=fmean(relatives) if relatives else None,
        difference=mean_difference(list(pairs.values())) if pairs else None,
    )


def _ranked(entries: Sequence[Entry], tasks: Iterable[str]) -> tuple[Entry, ...]:
    """The entries with their ranks; only pruned policies compete."""
    pruned = [entry for entry in entries if not entry.run.is_vanilla]
    averages = _ranks({entry.run.key: entry.average for entry in pruned})
    by_task = {
        task: _ranks({e.run.key: e.cells[task].score.value for e in pruned if task in e.cells})
        for task in tasks
    }
    return tuple(
        replace(
            entry,
            cells={
                task: replace(cell, rank=by_task[task].get(entry.run.key))
                for task, cell in entry.cells.items()
            },
            average_rank=averages.get(entry.run.key),
        )
        for entry in entries
    )


def _ranks(figures: Mapping[str, float | None]) -> dict[str, int]:
    """By name: 1 for the highest figure, 2 for the next; figures that print the same share it."""
    shown = {name: round(value, 1) for name, value in figures.items() if value is not None}
    best = sorted(set(shown.values()), reverse=True)[:2]
    return {name: best.index(value) + 1 for name, value in shown.items() if value in best}


def _mean_score(run: Run) -> float:
    values = [score.value for score in run.shown.values() if score.value is not None]
    return fmean(values) if values else 0.0


def _percent(value: float | None, whole: float | None) -> float | None:
    return 100 * value / whole if value is not None and whole else None
