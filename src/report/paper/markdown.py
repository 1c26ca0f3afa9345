"""A paper table in Markdown."""

from __future__ import annotations

from . import text
from .layout import PaperTable, TableCell, Value

STYLES = {None: "{}", 1: "**{}**", 2: "<u>{}</u>"}


def render(table: PaperTable) -> str:
    """The table, then its legend and notes, then the differences to vanilla."""
    head = ["Model", table.rows_are, *text.headings(table)]
    rows = [
        _line([block.label if i == 0 else "", row.label, *map(_cell, text.cells_of(table, row))])
        for block in table.blocks
        for i, row in enumerate(block.rows)
    ]
    parts = [f"## {table.title}", _grid(head, rows), text.LEGEND]
    parts += ["\n".join(f"- {note}" for note in table.notes)] if table.notes else []
    parts += [_differences(table)] if text.differences(table) else []
    return "\n\n".join(parts) + "\n"


def _cell(cell: TableCell | None) -> str:
    if cell is None:
        return ""
    ours = _value(cell.measured, cell.decimals) + text.arrow(cell)
    theirs = _value(cell.published, cell.decimals)
    return " ".join(part for part in (ours, theirs and f"({theirs})") if part)


def _value(value: Value, decimals: int) -> str:
    shown = text.shown(value, decimals)
    return STYLES[value.rank].format(shown) + text.plus(value) if shown else ""


def _differences(table: PaperTable) -> str:
    rows = [_line([model, label, *words]) for model, label, words in text.differences(table)]
    grid = _grid(["Model", table.rows_are, *text.column_names(table)], rows)
    return f"{text.DIFFERENCES}\n\n{grid}"


def _grid(head: list[str], rows: list[str]) -> str:
    rule = _line(["---", "---", *["---:"] * (len(head) - 2)])
    return "\n".join([_line(head), rule, *rows])


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
