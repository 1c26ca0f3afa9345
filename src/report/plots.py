"""Scores against average tokens, as inline SVG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..runs.read import Score
from .comparison import Comparison

COLOURS = ("#1f83c9", "#d55e00", "#009e73", "#cc79a7", "#b58900", "#17a2b8", "#9a6fb8", "#767676")
"""Legible on white and on black; markers tell policies apart where colours do not."""
MARKERS = "osD^vPX*"
INK = "#123456"
"""Stands for the colour of the page's text, which only the browser knows."""
SPREAD = 8.0
"""Width in percent of tokens over which policies are spread, so that no interval hides another."""
RIGHT = 104.0
"""Right end of the axis of average tokens, in percent."""


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
    """One plot per task: score with its interval against the measured share of visual tokens."""
    return [Plot(task, _draw(comparison, task)) for task in comparison.tasks]


def _draw(comparison: Comparison, task: str) -> str:
    points: dict[str, list[tuple[float, Score]]] = {}
    vanilla = None
    for entry in comparison.entries:
        score = entry.cells[task].score if task in entry.cells else None
        if score is None or score.value is None or entry.run.average_tokens is None:
            continue
        if entry.run.is_vanilla:
            vanilla = score.value
        else:
            points.setdefault(entry.run.policy, []).append((100 * entry.run.average_tokens, score))
    # Text stays text, and the same runs give the same file.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": task}):
        figure = Figure(figsize=(4.8, max(2.9, 0.9 + 0.2 * len(points))), layout="constrained")
        axes = figure.add_subplot(xlim=(0, RIGHT))
        style(axes)
        labels = []
        for number, (policy, scores) in enumerate(points.items()):
            shift = SPREAD * ((number + 0.5) / len(points) - 0.5)
            scores.sort(key=lambda point: point[0])
            labels.append(_draw_policy(axes, policy, scores, number, shift))
        if vanilla is not None:
            axes.axhline(vanilla, color=INK, lw=1, ls=(0, (4, 3)), zorder=1)
            labels.append(Label("vanilla", RIGHT, vanilla, INK))
        write_labels(axes, labels)
        return to_svg(figure)


def _draw_policy(
    axes: Axes, policy: str, points: Sequence[tuple[float, Score]], number: int, shift: float
) -> Label:
    """Draws one policy at all its budgets; returns the label of its last point."""
    x = [tokens + shift for tokens, _ in points]
    y = [score.value or 0.0 for _, score in points]
    below = [value - (score.low or 0.0) for value, (_, score) in zip(y, points, strict=True)]
    above = [(score.high or 0.0) - value for value, (_, score) in zip(y, points, strict=True)]
    colour = COLOURS[number % len(COLOURS)]
    marker = MARKERS[number % len(MARKERS)]
    axes.errorbar(x, y, yerr=[below, above], color=colour, marker=marker, ms=5, lw=1.2)
    return Label(policy, x[-1], y[-1], colour)


def write_labels(axes: Axes, labels: Sequence[Label]) -> None:
    """Names to the right of the plot, each joined to its point by a thin line."""
    low, high = axes.get_ylim()
    ordered = sorted(labels, key=lambda label: label.y)
    gap = (high - low) / max(len(labels), 12)
    heights = separate([label.y for label in ordered], gap, top=high)
    for label, height in zip(ordered, heights, strict=True):
        line = {"arrowstyle": "-", "color": label.colour, "lw": 0.6, "alpha": 0.6, "shrinkB": 4}
        axes.annotate(
            label.text,
            xy=(label.x, label.y),
            xytext=(RIGHT + 4, height),
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
