"""A paper table in the terminal."""

from __future__ import annotations

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from ..table import RANK_STYLES
from . import text
from .layout import PaperTable, TableCell


def render(table: PaperTable) -> Group:
    """A rich table: measured figures, published ones below them."""
    grid = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False)
    grid.add_column(table.rows_are.lower())
    for name in text.headings(table):
        grid.add_column(name.replace(" ", "\n"), justify="right")  # narrow: a word on each line
    for block in table.blocks:
        grid.add_row(Text(block.label, style="bold"))
        for i, row in enumerate(block.rows):
            cells = [_cell(cell) for cell in text.cells_of(table, row)]
            grid.add_row(row.label, *cells, end_section=i == len(block.rows) - 1)
    lines = [text.LEGEND, "bold: best; underlined: second best; green: above vanilla", *table.notes]
    return Group(Text(table.title, style="bold"), "", grid, "", Text("\n".join(lines), style="dim"))


def _cell(cell: TableCell | None) -> Text:
    if cell is None:
        return Text("")
    ours, theirs = cell.measured, cell.published
    style = f"{RANK_STYLES[ours.rank]} {'green' if ours.above_vanilla else ''}".strip()
    printed = text.shown(theirs, cell.decimals)
    return Text.assemble(
        (text.shown(ours, cell.decimals), style),
        text.plus(ours) + text.arrow(cell),
        (f"\n({printed})" if printed else "", "dim"),
    )
