"""Plots beside a table of the paper, as inline SVG."""

from __future__ import annotations

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..plots import COLOURS, INK, MARKERS, RIGHT, Label, Plot, style, to_svg, write_labels
from .layout import Block, PaperTable
from .measured import LAYER, Measurements
from .published import Cell, PublishedRow, PublishedTable

TRADE_OFF = "Relative average against average tokens. Filled: measured. Hollow: published."
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
