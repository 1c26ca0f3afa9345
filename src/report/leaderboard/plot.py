"""Mean score against average tokens and against prefill time; the frontier of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..plots import COLOURS, INK, MARKERS, style, to_svg
from .rows import Row

FAR = 18.0, 3.0
"""Between two names, in % along x and in points of score: of closer ones the better is named."""


def draw(rows: Sequence[Row], *, ink: str = INK) -> Figure:
    """Two panels; the second one only where prefills were timed."""
    timed = [row for row in rows if row.speed is not None]
    panels = 2 if timed else 1
    figure = Figure(figsize=(6.0 * panels + 1.6, 4.8), layout="constrained")
    axes = figure.subplots(1, panels, sharey=True, squeeze=False)[0]
    methods = sorted({row.method for row in rows})
    _panel(
        axes[0], rows, methods, lambda row: 100 * row.average_tokens, lambda row: row.best_by_tokens
    )
    axes[0].set_xlabel("average tokens, measured (%)")
    if timed:
        _panel(axes[1], timed, methods, _prefill, lambda row: row.best_by_prefill)
        axes[1].set_xlabel("prefill of the language model (% of vanilla's time)")
    for axis in axes:
        axis.set_ylabel("")
        axis.xaxis.label.set_color(ink)
    axes[0].set_ylabel("mean score over tasks (%)", color=ink)
    handles, labels = axes[0].get_legend_handles_labels()
    named = dict(zip(labels, handles, strict=True))  # a method once, of its several points
    figure.legend(
        named.values(),
        named,
        loc="outside right upper",
        fontsize=7.5,
        frameon=False,
        labelcolor=ink,
    )
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
    axes: Axes,
    rows: Sequence[Row],
    methods: Sequence[str],
    x: Callable[[Row], float],
    is_best: Callable[[Row], bool],
) -> None:
    """One panel; a method looks the same in all of them, by its place in `methods`."""
    style(axes)
    axes.margins(x=0.12, y=0.08)
    for row in sorted(rows, key=lambda row: (row.method, row.ivc)):
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
            label=row.method,
        )
    best = sorted((row for row in rows if is_best(row)), key=x)
    axes.plot([x(row) for row in best], [row.mean for row in best], color=INK, lw=0.8, alpha=0.6)
    named: list[tuple[float, float]] = []
    for row in sorted(best, key=lambda row: -row.mean):
        place = x(row), row.mean
        if all(abs(place[0] - a) > FAR[0] or abs(place[1] - b) > FAR[1] for a, b in named):
            named.append(place)
            axes.annotate(
                row.label,
                place,
                xytext=(6, 5),
                textcoords="offset points",
                fontsize=7.5,
                color=INK,
            )
