"""A table of the paper with measured figures beside the published ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ...runs.read import TRIAL, VANILLA
from ..paired import Difference, mean_difference
from .measured import LAYER, Figure, Measurements
from .published import Column, PublishedRow, PublishedTable, relative_average
from .significance import mcnemar, paired_bootstrap
from .timings import FIGURES


@dataclass(frozen=True)
class Value:
    """A figure and its marks among the rows of its model.

    Attributes:
        rank: 1 = best and 2 = second best pruned policy; None otherwise.
        above_vanilla: whether a pruned policy is better than vanilla.
        percent: of vanilla's figure, where the table shows it.
    """

    value: float | None = None
    rank: int | None = None
    above_vanilla: bool = False
    percent: float | None = None


@dataclass(frozen=True)
class TableCell:
    """One figure of a row.

    Attributes:
        figure: what was measured, with its interval; None without.
        difference: to vanilla on the same samples, with its adjusted interval.
        bootstrap: the same with the interval of the paired bootstrap.
        p: of McNemar's test; None where it is not defined.
    """

    measured: Value
    published: Value
    decimals: int = 1
    figure: Figure | None = None
    difference: Difference | None = None
    bootstrap: Difference | None = None
    p: float | None = None


@dataclass(frozen=True)
class TableRow:
    """Measured and published figures of one policy; `cells` by column key."""

    model: str
    policy: str
    label: str
    tokens: TableCell
    cells: Mapping[str, TableCell]
    relative: TableCell

    @property
    def is_vanilla(self) -> bool:
        return self.policy == VANILLA


@dataclass(frozen=True)
class Block:
    """The rows of one model."""

    label: str
    rows: tuple[TableRow, ...]


@dataclass(frozen=True)
class PaperTable:
    """A table of the paper.

    Attributes:
        notes: what limits the comparison.
        rows_are: heading of the rows' labels.
    """

    title: str
    columns: tuple[Column, ...]
    blocks: tuple[Block, ...]
    has_tokens: bool
    has_relative: bool
    notes: tuple[str, ...]
    rows_are: str = "Method"

    @property
    def rows(self) -> list[TableRow]:
        """The rows of all models."""
        return [row for block in self.blocks for row in block.rows]

    @property
    def groups(self) -> list[tuple[str, int]]:
        """Headings above the columns, each with the number of columns that it spans."""
        spans: list[tuple[str, int]] = []
        for column in self.columns:
            if spans and column.group and spans[-1][0] == column.group:
                spans[-1] = (column.group, spans[-1][1] + 1)
            else:
                spans.append((column.group, 1))
        return spans


def lay_out(table: PublishedTable, measurements: Measurements) -> PaperTable:
    """The table with what was measured; a cell without a finished run stays empty."""
    blocks = []
    for model, label in table.models.items():
        rows = [_row(table, row, measurements) for row in table.rows if row.model == model]
        blocks.append(Block(label, _marked(table.columns, rows)))
    is_trial = any(run.is_trial for run in measurements.runs.values())
    return PaperTable(
        title=f"{TRIAL}: {table.title}" if is_trial else table.title,
        columns=table.columns,
        blocks=tuple(blocks),
        has_tokens=any(row.tokens is not None for row in table.rows),
        has_relative=any(row.relative is not None for row in table.rows),
        notes=tuple(_notes(table, measurements)),
    )


def _row(table: PublishedTable, row: PublishedRow, measurements: Measurements) -> TableRow:
    columns = [column for column in table.columns if column.key in row.values]
    cells = {c.key: _cell(c, row, measurements.figure(c, row.model, row.policy)) for c in columns}
    before = {c.key: measurements.figure(c, row.model, VANILLA) for c in columns}
    relative = relative_average(
        {key: cell.measured.value for key, cell in cells.items()},
        {key: figure.value if figure else None for key, figure in before.items()},
    )
    data = dict.fromkeys(name for column in columns for name in column.data)
    tokens = measurements.average_tokens(row.model, row.policy, data)
    return TableRow(
        model=row.model,
        policy=row.policy,
        label=table.policies[row.policy],
        tokens=TableCell(Value(tokens), Value(row.tokens)),
        cells=cells,
        relative=TableCell(Value(relative), Value(row.relative)),
    )


def _cell(column: Column, row: PublishedRow, figure: Figure | None) -> TableCell:
    pairs = figure.differences if figure else ()
    return TableCell(
        measured=Value(figure.value if figure else None),
        published=Value(row.values[column.key]),
        decimals=column.decimals,
        figure=figure,
        difference=mean_difference([pairs]) if pairs else None,
        bootstrap=paired_bootstrap(pairs) if pairs else None,
        p=mcnemar(pairs) if pairs else None,
    )


def _marked(columns: Sequence[Column], rows: Sequence[TableRow]) -> tuple[TableRow, ...]:
    """The rows of one model with the marks of each column and of the relative averages."""
    marked = list(rows)
    for column in columns:
        if column.figure == LAYER:
            continue  # a choice, not a merit
        cells = _marked_cells(
            [row.cells.get(column.key) for row in marked], marked, column.figure is not None
        )
        marked = [
            replace(row, cells={**row.cells, column.key: cell}) if cell else row
            for row, cell in zip(marked, cells, strict=True)
        ]
    averages = _marked_cells([row.relative for row in marked], marked, lower_is_better=False)
    return tuple(
        replace(row, relative=cell) if cell else row
        for row, cell in zip(marked, averages, strict=True)
    )


def _marked_cells(
    cells: Sequence[TableCell | None], rows: Sequence[TableRow], lower_is_better: bool
) -> list[TableCell | None]:
    vanilla = [row.is_vanilla for row in rows]
    present = [(i, cell) for i, cell in enumerate(cells) if cell is not None]
    flags = [vanilla[i] for i, _ in present]
    decimals = present[0][1].decimals if present else 1
    sign = -1 if lower_is_better else 1
    measured = _values([cell.measured.value for _, cell in present], flags, decimals, sign)
    published = _values([cell.published.value for _, cell in present], flags, decimals, sign)
    marked = list(cells)
    for (i, cell), ours, theirs in zip(present, measured, published, strict=True):
        marked[i] = replace(cell, measured=ours, published=theirs)
    return marked


def _values(
    values: Sequence[float | None], is_vanilla: Sequence[bool], decimals: int, sign: int
) -> list[Value]:
    """Values with marks; those that print the same share a rank."""
    shown = [None if v is None else sign * round(v, decimals) for v in values]
    pairs = list(zip(shown, is_vanilla, strict=True))
    best = sorted({s for s, flag in pairs if s is not None and not flag}, reverse=True)[:2]
    before = next((s for s, flag in pairs if flag), None)
    return [
        Value(v)
        if s is None or flag
        else Value(
            v,
            best.index(s) + 1 if s in best else None,
            before is not None and s > before,
        )
        for v, (s, flag) in zip(values, pairs, strict=True)
    ]


def _notes(table: PublishedTable, measurements: Measurements) -> list[str]:
    """Runs that saw other samples than vanilla's, failed samples, and what is not reconciled."""
    notes = []
    for cell in sorted(table.cells & measurements.runs.keys()):
        run = measurements.runs[cell]
        vanilla = measurements.runs.get(replace(cell, policy=VANILLA))
        if vanilla is not None and vanilla.n != run.n:
            notes.append(f"{run.key}: {run.n} samples, vanilla {vanilla.n}")
        if run.errors:
            notes.append(f"{run.key}: {run.errors} of {run.n} samples failed")
    if measurements.timings is not None and any(c.figure in FIGURES for c in table.columns):
        notes.append(measurements.timings.note({cell.model for cell in table.cells}))
    for where, value in table.unreconciled.items():
        model, policy, what = where.split("/")
        label = f"{table.models[model]}, {table.policies[policy]}"
        notes.append(f"{label}: the printed {what} do not follow from the settings; {value} would")
    return notes
