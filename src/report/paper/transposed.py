"""Tables that the paper prints with methods as columns (Tab. 14)."""

from __future__ import annotations

from dataclasses import replace

from .layout import Block, PaperTable, TableCell, TableRow, Value
from .published import Column

EMPTY = TableCell(Value(), Value())


def transpose(table: PaperTable) -> PaperTable:
    """The table of one model with its columns as rows, each with percentages of vanilla's figure.

    Raises:
        ValueError: it has several models, or averages, which would need a row of their own.
    """
    if len(table.blocks) != 1 or table.has_tokens or table.has_relative:
        raise ValueError(f"{table.title!r} cannot be turned: it needs one model and no averages")
    (block,) = table.blocks
    vanilla = next((row for row in block.rows if row.is_vanilla), None)
    rows = tuple(
        TableRow(
            model=block.rows[0].model,
            policy=column.key,
            label=column.label,
            tokens=EMPTY,
            cells={row.policy: _share(row, vanilla, column.key) for row in block.rows},
            relative=EMPTY,
        )
        for column in table.columns
    )
    return replace(
        table,
        columns=tuple(Column(row.policy, row.label, "", ()) for row in block.rows),
        blocks=(Block(block.label, rows),),
        rows_are="Task",
    )


def _share(row: TableRow, vanilla: TableRow | None, key: str) -> TableCell:
    cell = row.cells[key]
    if vanilla is None or row is vanilla:
        return cell
    before = vanilla.cells[key]
    return replace(
        cell,
        measured=_of(cell.measured, before.measured),
        published=_of(cell.published, before.published),
    )


def _of(value: Value, vanilla: Value) -> Value:
    if value.value is None or not vanilla.value:
        return value
    return replace(value, percent=100 * value.value / vanilla.value)
