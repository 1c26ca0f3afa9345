"""Scores against average tokens, or against a setting that was swept, as inline SVG."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from textwrap import fill, wrap
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..runs.read import Score
from .comparison import Comparison
from .panels import Line, Panel, panels_of
from .spread import shifts_of

COLOURS = ("#1f83c9", "#d55e00", "#009e73", "#cc79a7", "#b58900", "#17a2b8", "#9a6fb8", "#767676")
"""Legible on white and on black; markers tell policies apart where colours do not."""
MARKERS = "osD^vPX*"
INK = "#123456"
"""Stands for the colour of the page's text, which only the browser knows."""
RIGHT = 104.0
"""Right end of the axis of average tokens, in percent."""
TICKS = 12
"""At most so many on the axis of a setting."""
CHARACTERS = 24
"""In a line of a name beside the plot."""


@dataclass(frozen=True)
class Plot:
    title: str
    svg: str


@dataclass(frozen=True)
class Label:
    """A name beside the plot and the point that it belongs to."""

    text: str
    x: float
    y: float
    colour: str


def draw_plots(comparison: Comparison) -> list[Plot]:
    """One plot per task: score with its interval against the measured share of visual tokens.

    Of runs that were brought to one share, each has a line of its own instead. Where a setting was
    swept, there is one more per task over that setting, see `panels_of`.
    """
    panels = panels_of(comparison.entries)
    names = dict.fromkeys(line.label for panel in panels for line in panel.lines)
    looks = {name: number for number, name in enumerate(names)}
    return [
        Plot(task if panel.setting is None else f"{task} by {panel.setting}", svg)
        for panel in panels
        for task in comparison.tasks
        if (svg := _draw(comparison, panel, task, looks))
    ]


def _draw(comparison: Comparison, panel: Panel, task: str, looks: Mapping[str, int]) -> str | None:
    """None where no run of the panel has a score.

    Args:
        looks: numbers that colours and markers follow from, by label: the same in every plot.
    """
    lines = [(line.label, points) for line in panel.lines if (points := scored(line, task))]
    if not lines:
        return None
    cell = comparison.vanilla and comparison.vanilla.cells.get(task)
    vanilla = cell.score.value if cell else None
    unit = f"score ({comparison.unit(task)})"
    # Text stays text, and the same runs give the same file.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": f"{task} {panel.setting}"}):
        if panel.common_tokens is None:
            return _draw_lines(panel, lines, vanilla, looks, unit)
        named = [(label, points[0][1]) for label, points in lines]
        name = f"{unit} at {panel.common_tokens:.0f} % average tokens"
        return _draw_rows(named, vanilla, looks, name)


def _draw_rows(
    scores: Sequence[tuple[str, Score]],
    vanilla: float | None,
    looks: Mapping[str, int],
    name: str,
) -> str:
    """A row for each run, in the order of the table, over its score; `name` is that of the axis."""
    figure = Figure(figsize=(4.8, 1.1 + 0.26 * len(scores)), layout="constrained")
    axes = figure.add_subplot()
    style(axes)
    axes.grid(visible=False, axis="y")
    axes.grid(axis="x", color=INK, alpha=0.12, lw=0.8)
    axes.set_xlabel(name, color=INK)
    axes.set_ylabel("")
    for place, (label, score) in enumerate(scores):
        value = score.value or 0.0
        ends = [[value - (score.low or 0.0)], [(score.high or 0.0) - value]]
        axes.errorbar([value], [place], xerr=ends, **_look(looks[label]))
    axes.set_yticks(range(len(scores)), [fill(label, CHARACTERS) for label, _ in scores])
    axes.set_ylim(len(scores) - 0.5, -0.5)
    if vanilla is not None:
        axes.axvline(vanilla, color=INK, lw=1, ls=(0, (4, 3)), zorder=1)
        axes.set_title("dashed: vanilla", color=INK, fontsize=9, loc="right")
    return to_svg(figure)


def _draw_lines(
    panel: Panel,
    lines: Sequence[tuple[str, Sequence[tuple[float, Score]]]],
    vanilla: float | None,
    looks: Mapping[str, int],
    name: str,
) -> str:
    """Scores, an axis called `name`, over the average tokens or the setting of the panel."""
    shifts = shifts_of(panel, [[x for x, _ in points] for _, points in lines])
    rows = sum(len(wrap(label, CHARACTERS)) for label, _ in lines)
    figure = Figure(figsize=(4.8, max(2.9, 0.9 + 0.2 * rows)), layout="constrained")
    axes = figure.add_subplot()
    style(axes)
    axes.set_ylabel(name, color=INK)
    if panel.setting is None:
        axes.set_xlim(0, RIGHT)
    else:
        axes.set_xlabel(panel.setting, color=INK)
        set_ticks(axes, [x for _, points in lines for x, _ in points])
    labels = [
        _draw_line(axes, label, points, looks[label], shift)
        for (label, points), shift in zip(lines, shifts, strict=True)
    ]
    if vanilla is not None:
        axes.axhline(vanilla, color=INK, lw=1, ls=(0, (4, 3)), zorder=1)
        labels.append(Label("vanilla", axes.get_xlim()[1], vanilla, INK))
    write_labels(axes, labels)
    return to_svg(figure)


def scored(line: Line, task: str) -> list[tuple[float, Score]]:
    """(x, score) of the runs of a line that have a score in `task`."""
    cells = [(point.x, point.entry.cells.get(task)) for point in line.points]
    return [(x, cell.score) for x, cell in cells if cell and cell.score.value is not None]


def set_ticks(axes: Axes, places: Sequence[float]) -> None:
    """At the values that were tried, as far as there is room; half a step is left at both ends."""
    values = sorted(set(places))
    step = min((after - before for before, after in pairwise(values)), default=1.0)
    axes.set_xlim(values[0] - step / 2, values[-1] + step / 2)
    every = -(-len(values) // TICKS)
    axes.set_xticks(values[::every], [f"{value:g}" for value in values[::every]])


def _draw_line(
    axes: Axes, name: str, points: Sequence[tuple[float, Score]], number: int, shift: float
) -> Label:
    """Draws the runs of a line; returns the label of its last point."""
    x = [place + shift for place, _ in points]
    y = [score.value or 0.0 for _, score in points]
    below = [value - (score.low or 0.0) for value, (_, score) in zip(y, points, strict=True)]
    above = [(score.high or 0.0) - value for value, (_, score) in zip(y, points, strict=True)]
    look = _look(number)
    axes.errorbar(x, y, yerr=[below, above], **look)
    return Label(name, x[-1], y[-1], look["color"])


def _look(number: int) -> dict[str, Any]:
    """Colour and marker of a line."""
    colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
    return {"color": colour, "marker": marker, "ms": 5, "lw": 1.2}


def write_labels(axes: Axes, labels: Sequence[Label]) -> None:
    """Names to the right of the plot, each joined to its point by a thin line."""
    (low, high), (left, right) = axes.get_ylim(), axes.get_xlim()
    ordered = [replace(label, text=fill(label.text, CHARACTERS)) for label in labels]
    ordered.sort(key=lambda label: label.y)
    lines = max((label.text.count("\n") + 1 for label in ordered), default=1)
    gap = lines * (high - low) / max(lines * len(labels), 12)
    heights = separate([label.y for label in ordered], gap, top=high)
    for label, height in zip(ordered, heights, strict=True):
        line = {"arrowstyle": "-", "color": label.colour, "lw": 0.6, "alpha": 0.6, "shrinkB": 4}
        axes.annotate(
            label.text,
            xy=(label.x, label.y),
            xytext=(right + 0.04 * (right - left), height),
            color=label.colour,
            fontsize=9,
            va="center",
            annotation_clip=False,
            arrowprops=line,
        )


def separate(heights: Sequence[float], gap: float, top: float) -> list[float]:
    """Ascending `heights`, moved until neighbours are `gap` apart and none is above `top`."""
    moved: list[float] = []
    for height in heights:
        moved.append(max(height, moved[-1] + gap) if moved else height)
    ceiling = top
    for index in reversed(range(len(moved))):
        moved[index] = min(moved[index], ceiling)
        ceiling = moved[index] - gap
    return moved


def style(axes: Axes) -> None:
    """Axis names, grid and spines in the colour of the page's text."""
    axes.set_xlabel("average tokens (%)", color=INK)
    axes.set_ylabel("score (%)", color=INK)
    axes.tick_params(colors=INK, labelsize=9)
    axes.grid(axis="y", color=INK, alpha=0.12, lw=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(INK)


def to_svg(figure: Figure) -> str:
    """The figure as an SVG element that takes the colour of the page's text."""
    buffer = io.StringIO()
    metadata: dict[str, Any] = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", transparent=True, metadata=metadata)
    svg = buffer.getvalue()
    return svg[svg.index("<svg") :].replace(INK, "currentColor")
