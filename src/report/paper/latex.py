"""A paper table in LaTeX, with booktabs and multirow."""

from __future__ import annotations

from . import text
from .layout import PaperTable, TableCell, Value

STYLES = {None: "{}", 1: r"\textbf{{{}}}", 2: r"\underline{{{}}}"}
ARROWS = {"": "", "▲": r"$^{\uparrow}$", "▼": r"$^{\downarrow}$"}
SPECIAL = str.maketrans({c: f"\\{c}" for c in "&%$#_{}"})


def render(table: PaperTable) -> str:
    """A `table*`; it needs the packages booktabs and multirow."""
    columns = len(text.headings(table))
    body = [
        _line([_model(block.label, len(block.rows), i), escape(row.label), *map(_cell, cells)])
        for block in table.blocks
        for i, row in enumerate(block.rows)
        for cells in [text.cells_of(table, row)]
    ]
    ends, total = set(), 0
    for block in table.blocks:
        total += len(block.rows)
        ends.add(total)
    rules = [[line, r"\midrule"] if i in ends else [line] for i, line in enumerate(body, start=1)]
    lines = [piece for pieces in rules for piece in pieces][:-1]
    return "\n".join(
        [
            r"% needs \usepackage{booktabs,multirow}",
            r"\begin{table*}",
            rf"\caption{{{escape(table.title)}. {_legend()}}}",
            r"\centering\small",
            rf"\begin{{tabular}}{{ll{'r' * columns}}}",
            r"\toprule",
            *_heads(table),
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table*}",
            "",
        ]
    )


def escape(words: str) -> str:
    """Characters that mean something to LaTeX, as themselves."""
    return words.translate(SPECIAL)


def _legend() -> str:
    return (
        r"Measured (published). \textbf{Best}, \underline{second best}, $^{+}$ above vanilla; "
        r"$^{\uparrow}$ $^{\downarrow}$ beyond the 95\,\% interval."
    )


def _heads(table: PaperTable) -> list[str]:
    before = ["", "", *([""] if table.has_tokens else [])]
    after = [""] if table.has_relative else []
    spans = [
        rf"\multicolumn{{{span}}}{{c}}{{{escape(name)}}}" if name else ""
        for name, span in table.groups
    ]
    labels = [
        "Model",
        table.rows_are,
        *(["Avg.\\ tokens"] if table.has_tokens else []),
        *(escape(column.label) for column in table.columns),
        *(["Rel.\\ avg."] if table.has_relative else []),
    ]
    grouped = [_line([*before, *spans, *after])] if any(spans) else []
    return [*grouped, _line(labels)]


def _model(label: str, rows: int, number: int) -> str:
    return rf"\multirow{{{rows}}}{{*}}{{{escape(label)}}}" if number == 0 else ""


def _cell(cell: TableCell | None) -> str:
    if cell is None:
        return ""
    ours = _value(cell.measured, cell.decimals) + ARROWS[text.arrow(cell)]
    theirs = _value(cell.published, cell.decimals)
    return " ".join(part for part in (ours, theirs and f"({theirs})") if part)


def _value(value: Value, decimals: int) -> str:
    shown = escape(text.shown(value, decimals))
    above = "$^{+}$" if value.above_vanilla else ""
    return STYLES[value.rank].format(shown) + above if shown else ""


def _line(cells: list[str]) -> str:
    return " & ".join(cells) + r" \\"
