"""Time and share of the limit, against the number of visual tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from ..report.plots import COLOURS, MARKERS
from .result import Cell, Spread


def draw_time(cells: Sequence[Cell], title: str) -> Figure:
    """Prefill of the language model in milliseconds, median with quartiles."""

    def time(cell: Cell, policy: str) -> Spread | None:
        return cell.policies[policy].spread("language_ms")

    figure, axes = _figure(title, "language model, prefill (ms)")
    _draw_policies(axes, cells, time)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.yaxis.set_minor_locator(NullLocator())
    return figure


def draw_share(cells: Sequence[Cell], title: str) -> Figure:
    """Share of the limit by FLOPs that the speed-up reaches, median with quartiles."""

    def share(cell: Cell, policy: str) -> Spread | None:
        return cell.share_of_limit(policy) if cell.policies[policy].layers else None

    figure, axes = _figure(title, "speed-up / limit by FLOPs")
    axes.axhline(1.0, color="#767676", lw=1, ls=(0, (4, 3)), zorder=1)
    _draw_policies(axes, cells, share)
    return figure


def _figure(title: str, quantity: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5.6, 3.6), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=9, loc="left")
    axes.set_xlabel("visual tokens")
    axes.set_ylabel(quantity)
    axes.set_xscale("log")
    axes.grid(axis="y", alpha=0.2, lw=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _draw_policies(
    axes: Axes, cells: Sequence[Cell], quantity: Callable[[Cell, str], Spread | None]
) -> None:
    for number, name in enumerate(cells[0].policies):
        points = [
            (cell.visual_tokens, spread)
            for cell in cells
            if (spread := quantity(cell, name)) is not None
        ]
        if not points:
            continue
        medians = [spread.median for _, spread in points]
        below = [spread.median - spread.low for _, spread in points]
        above = [spread.high - spread.median for _, spread in points]
        axes.errorbar(
            [tokens for tokens, _ in points],
            medians,
            yerr=[below, above],
            color=COLOURS[number % len(COLOURS)],
            marker=MARKERS[number % len(MARKERS)],
            ms=5,
            lw=1.2,
            capsize=2,
            label=name,
        )
    ticks = sorted({cell.visual_tokens for cell in cells})
    axes.set_xticks(ticks, labels=[f"{tick:,}" for tick in ticks])
    axes.minorticks_off()
    axes.legend(frameon=False, fontsize=8)
