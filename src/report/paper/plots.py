"""Plots beside a table of the paper, as inline SVG."""

from __future__ import annotations

from textwrap import fill

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from ..plots import COLOURS, INK, MARKERS, RIGHT, Label, Plot, style, to_svg, write_labels
from .layout import Block, PaperTable
from .measured import LAYER, Measurements
from .published import Cell, PublishedRow, PublishedTable

TRADE_OFF = "Relative average against average tokens. Filled: measured. Hollow: published."
BREAKDOWN = "Score by task. Filled: measured. Outlined: published."
LAYERS = "Score of a selection at each layer. Dashed: the layer that the paper chose."


def draw_trade_offs(table: PaperTable) -> list[Plot]:
    """One plot per model; none of a table without averages. `TRADE_OFF` explains them."""
    if not (table.has_tokens and table.has_relative):
        return []
    return [Plot(block.label, _draw(block)) for block in table.blocks]


def _draw(block: Block) -> str:
    # Text stays text, and the same runs give the same file.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": block.label}):
        figure = Figure(figsize=(4.8, max(2.9, 0.9 + 0.3 * len(block.rows))), layout="constrained")
        axes = figure.add_subplot(xlim=(0, RIGHT))
        style(axes)
        axes.set_ylabel("Rel. avg. (%)", color=INK)
        labels = []
        for number, row in enumerate(row for row in block.rows if not row.is_vanilla):
            colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
            pairs = [
                (row.tokens.published.value, row.relative.published.value, "none"),
                (row.tokens.measured.value, row.relative.measured.value, colour),
            ]
            points = [(x, y, fill) for x, y, fill in pairs if x is not None and y is not None]
            for x, y, fill in points:
                axes.plot(x, y, marker, color=colour, markerfacecolor=fill, ms=6)
            labels += [Label(row.label, x, y, colour) for x, y, _ in points[-1:]]
        axes.axhline(100, color=INK, lw=1, ls=(0, (4, 3)), zorder=1)
        write_labels(axes, [*labels, Label("vanilla", RIGHT, 100.0, INK)])
        return to_svg(figure)


def draw_breakdown(table: PaperTable) -> list[Plot]:
    """Bars of every policy in each column, one plot per model; `BREAKDOWN` explains them."""
    return [Plot(block.label, _draw_bars(table, block)) for block in table.blocks]


def _draw_bars(table: PaperTable, block: Block) -> str:
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": block.label}):
        height = 1.2 + 0.2 * len(table.columns) * len(block.rows)
        figure = Figure(figsize=(7.2, height), layout="constrained")
        axes = figure.add_subplot()
        style(axes)
        axes.set_xlabel("score", color=INK)
        axes.set_ylabel("")
        axes.grid(visible=False, axis="y")
        axes.grid(axis="x", color=INK, alpha=0.12, lw=0.8)
        step = 0.8 / len(block.rows)
        legend = []
        for number, row in enumerate(block.rows):
            colour = INK if row.is_vanilla else COLOURS[number % len(COLOURS)]
            places = [i + number * step for i in range(len(table.columns))]
            cells = [row.cells[column.key] for column in table.columns]
            for figures, face in (
                ([cell.published.value for cell in cells], "none"),
                ([cell.measured.value for cell in cells], colour),
            ):
                known = [(y, x) for y, x in zip(places, figures, strict=True) if x is not None]
                axes.barh(
                    [y for y, _ in known],
                    [x for _, x in known],
                    height=0.8 * step,
                    facecolor=face,
                    edgecolor=colour,
                )
            legend.append(Patch(color=colour, label=row.label))
        middle = (len(block.rows) - 1) * step / 2
        labels = [fill(column.label, 24) for column in table.columns]
        axes.set_yticks([i + middle for i in range(len(labels))], labels)
        axes.invert_yaxis()
        axes.legend(handles=legend, frameon=False, fontsize=8)
        return to_svg(figure)


def draw_layer_sweeps(table: PublishedTable, measurements: Measurements) -> list[Plot]:
    """One plot per swept model; none of other tables. `LAYERS` explains them."""
    plots = []
    for row in table.rows:
        for column in table.columns:
            if column.figure == LAYER and column.key in row.values:
                cell = Cell(row.model, column.data[0], row.policy)
                if scores := measurements.layer_scores(cell):
                    title = f"{table.models[row.model]}, {column.data[0]}"
                    plots.append(Plot(title, _draw_layers(scores, row, column.key)))
    return plots


def _draw_layers(scores: dict[int, float], row: PublishedRow, key: str) -> str:
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": row.model}):
        figure = Figure(figsize=(4.8, 2.9), layout="constrained")
        axes = figure.add_subplot()
        style(axes)
        axes.set_xlabel("selection layer", color=INK)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.plot(list(scores), list(scores.values()), color=COLOURS[0], marker="o", ms=4, lw=1.2)
        if (published := row.values[key]) is not None:
            axes.axvline(published, color=INK, lw=1, ls=(0, (4, 3)), zorder=1)
        return to_svg(figure)
