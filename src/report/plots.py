"""Scores against average tokens, as inline SVG."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .comparison import Comparison, Entry

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b58900", "#2a9fd6", "#7a5195", "#767676")
"""Told apart on white and on black, also by most colour-blind readers."""
MARKERS = "osD^vPX*"
INK = "#123456"
"""Stands for the colour of the page's text, which only the browser knows."""
SPREAD = 8.0
"""Width in percent of tokens over which policies are spread, so that no interval hides another."""


@dataclass(frozen=True)
class Plot:
    title: str
    svg: str


def draw_plots(comparison: Comparison) -> list[Plot]:
    """One plot per task: score with its interval against the measured share of visual tokens."""
    policies = list(dict.fromkeys(e.run.policy for e in comparison.entries if not e.run.is_vanilla))
    return [Plot(task, _draw(comparison, task, policies)) for task in comparison.tasks]


def _draw(comparison: Comparison, task: str, policies: Sequence[str]) -> str:
    # A context of its own: the user's matplotlib settings are neither used nor changed.
    with mpl.rc_context(mpl.rcParamsDefault | {"svg.fonttype": "none", "svg.hashsalt": task}):
        figure = Figure(figsize=(5.4, max(2.9, 0.9 + 0.2 * len(policies))), layout="constrained")
        axes = figure.add_subplot()
        _style(axes)
        series: dict[str, list[Entry]] = defaultdict(list)
        for entry in comparison.entries:
            if task in entry.cells and entry.cells[task].score.value is not None:
                series[entry.run.policy].append(entry)
        labels = []
        for number, policy in enumerate(policies):
            if policy in series:
                shift = SPREAD * ((number + 0.5) / len(policies) - 0.5)
                labels.append(_draw_policy(axes, policy, series[policy], task, number, shift))
        if comparison.vanilla and task in comparison.vanilla.cells:
            axes.axhline(
                _value(comparison.vanilla, task), color=INK, lw=1, ls=(0, (4, 3)), zorder=1
            )
            labels.append(("vanilla", 104.0, _value(comparison.vanilla, task), INK))
        axes.set_xlim(0, 104)
        _label_lines(axes, labels)
        return _to_svg(figure)


def _draw_policy(
    axes: Axes, policy: str, entries: Sequence[Entry], task: str, number: int, shift: float
) -> tuple[str, float, float, str]:
    """Draws one policy at all its budgets; returns its label, its last point and its colour."""
    entries = sorted(entries, key=lambda entry: entry.run.average_tokens)
    x = [100 * entry.run.average_tokens + shift for entry in entries]
    y = [_value(entry, task) for entry in entries]
    scores = [entry.cells[task].score for entry in entries]
    errors = [
        [value - (score.low or 0.0) for value, score in zip(y, scores, strict=True)],
        [(score.high or 0.0) - value for value, score in zip(y, scores, strict=True)],
    ]
    colour = COLOURS[number % len(COLOURS)]
    marker = MARKERS[number % len(MARKERS)]
    axes.errorbar(x, y, yerr=errors, color=colour, marker=marker, ms=5, lw=1.2, elinewidth=1)
    return policy, x[-1], y[-1], colour


def _label_lines(axes: Axes, labels: Sequence[tuple[str, float, float, str]]) -> None:
    """Names beside the plot, none upon another, each joined to its last point by a thin line."""
    low, high = axes.get_ylim()
    gap = (high - low) / max(len(labels) + 1, 12)
    ordered = sorted(labels, key=lambda label: label[2])
    heights: list[float] = []
    for _, _, y, _ in ordered:
        heights.append(max(y, heights[-1] + gap) if heights else y)
    if heights and (excess := heights[-1] - (high - gap / 2)) > 0:
        for index in range(len(heights) - 1, -1, -1):
            above = (
                heights[index + 1] - gap if index + 1 < len(heights) else heights[index] - excess
            )
            heights[index] = min(heights[index], above)
    for (name, x, y, colour), height in zip(ordered, heights, strict=True):
        axes.annotate(
            name,
            xy=(x, y),
            xytext=(108, height),
            color=colour,
            fontsize=9,
            va="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.6, "alpha": 0.6, "shrinkB": 4},
        )


def _style(axes: Axes) -> None:
    axes.set_xlabel("average tokens (%)", color=INK)
    axes.set_ylabel("score (%)", color=INK)
    axes.tick_params(colors=INK, labelsize=9)
    axes.grid(axis="y", color=INK, alpha=0.12, lw=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(INK)


def _value(entry: Entry, task: str) -> float:
    return entry.cells[task].score.value or 0.0


def _to_svg(figure: Figure) -> str:
    buffer = io.StringIO()
    metadata: dict[str, Any] = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", transparent=True, metadata=metadata)
    svg = buffer.getvalue()
    return svg[svg.index("<svg") :].replace(INK, "currentColor")
