"""Figures of a paper table as text, the same in all of its forms."""

from __future__ import annotations

from ..formats import bounds, signed
from .layout import PaperTable, TableCell, TableRow, Value

DIFFERENCES = (
    "Differences to vanilla on the same samples, in points of the samples' scores: with their "
    "adjusted 95 % interval, that of the paired bootstrap, and p of McNemar's exact test where "
    "every score is right or wrong."
)
ABOVE = "⁺"
LEGEND = (
    "Measured figures stand first, published ones after them in parentheses; replies are read to "
    "the letter of the published evaluation; an empty place is a run that is not finished. Best "
    "and second best pruned policy of each model are marked, "
    f"{ABOVE} is above vanilla. ▲ ▼: on the same samples the difference to vanilla lies beyond its "
    "95 % interval."
)


def number(value: float | None, decimals: int = 1) -> str:
    """ "" where there is none."""
    return "" if value is None else f"{value:.{decimals}f}"


def shown(value: Value, decimals: int) -> str:
    """The number, with its percentage of vanilla where the table shows it."""
    words = number(value.value, decimals)
    return words if value.percent is None else f"{words}, {value.percent:.1f} %"


def plus(value: Value) -> str:
    return ABOVE if value.above_vanilla else ""


def arrow(cell: TableCell) -> str:
    """▲ or ▼ where the measured difference to vanilla is beyond its interval."""
    if cell.difference is None or not cell.difference.significant:
        return ""
    return "▲" if cell.difference.value > 0 else "▼"


def cells_of(table: PaperTable, row: TableRow) -> list[TableCell | None]:
    """Average tokens, the columns and the relative average, as far as the table has them."""
    cells: list[TableCell | None] = [row.tokens] if table.has_tokens else []
    cells += [row.cells.get(column.key) for column in table.columns]
    return [*cells, row.relative] if table.has_relative else cells


def headings(table: PaperTable) -> list[str]:
    """Of the cells that `cells_of` gives, groups before their labels."""
    names = ["Average tokens"] if table.has_tokens else []
    names += column_names(table)
    return [*names, "Rel. avg."] if table.has_relative else names


def column_names(table: PaperTable) -> list[str]:
    return [f"{column.group} {column.label}".strip() for column in table.columns]


def difference(cell: TableCell) -> str:
    """E.g. "−15.3 [−16.2, −14.4], bootstrap [−16.2, −14.4], p < 0.001"; "" without vanilla."""
    if cell.difference is None or cell.bootstrap is None:
        return ""
    words = f"{signed(cell.difference.value)} {bounds(cell.difference)}"
    words += f", bootstrap {bounds(cell.bootstrap)}"
    return words if cell.p is None else f"{words}, {_p(cell.p)}"


def differences(table: PaperTable) -> list[tuple[str, str, list[str]]]:
    """Model, method and the difference in each column, of the rows that have any."""
    rows = []
    for block in table.blocks:
        for row in block.rows:
            cells = [row.cells.get(column.key) for column in table.columns]
            words = [difference(cell) if cell else "" for cell in cells]
            if any(words):
                rows.append((block.label, row.label, words))
    return rows


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
