"""Mean score against average tokens and against prefill time; the frontier of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..plots import COLOURS, INK, MARKERS, style, to_svg
from .rows import Row


def draw(rows: Sequence[Row], *, ink: str = INK) -> Figure:
    """Two panels; the second one only where prefills were timed."""
    timed = [row for row in rows if row.speed is not None]
    panels = 2 if timed else 1
    figure = Figure(figsize=(6.0 * panels, 4.6), layout="constrained")
    axes = figure.subplots(1, panels, sharey=True, squeeze=False)[0]
    _panel(axes[0], rows, lambda row: 100 * row.average_tokens, lambda row: row.best_by_tokens)
    axes[0].set_xlabel("average tokens, measured (%)")
    if timed:
        _panel(axes[1], timed, _prefill, lambda row: row.best_by_prefill)
        axes[1].set_xlabel("prefill of the language model (% of vanilla's time)")
    for axis in axes:
        axis.set_ylabel("")
        axis.xaxis.label.set_color(ink)
    axes[0].set_ylabel("mean score over tasks (%)", color=ink)
    axes[0].set_title("filled: with the coordinates, line: not dominated", loc="left", fontsize=9)
    return figure


def svg(rows: Sequence[Row]) -> str:
    """For a page, in the colour of its text."""
    return to_svg(draw(rows))


def png(rows: Sequence[Row], path: Path) -> None:
    """For a README."""
    draw(rows, ink="#222222").savefig(path, dpi=130)


def _prefill(row: Row) -> float:
    assert row.speed is not None
    return 100 / row.speed.reached


def _panel(
    axes: Axes, rows: Sequence[Row], x: Callable[[Row], float], is_best: Callable[[Row], bool]
) -> None:
    style(axes)
    axes.margins(x=0.12, y=0.08)
    methods = list(dict.fromkeys(row.method for row in sorted(rows, key=lambda row: row.method)))
    for row in rows:
        number = methods.index(row.method)
        colour = COLOURS[number % len(COLOURS)]
        axes.plot(
            x(row),
            row.mean,
            marker=MARKERS[(number // len(COLOURS) + number) % len(MARKERS)],
            ms=6,
            color=colour,
            mfc=colour if row.ivc else "none",
            ls="",
        )
    best = sorted((row for row in rows if is_best(row)), key=x)
    axes.plot([x(row) for row in best], [row.mean for row in best], color=INK, lw=0.8, alpha=0.6)
    for row in best:
        axes.annotate(
            row.label,
            (x(row), row.mean),
            xytext=(6, 5),
            textcoords="offset points",
            fontsize=7.5,
            color=INK,
        )
