"""Divergence against the cost of the prefill: every candidate, the frontier, and the choice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from ..report.plots import COLOURS, INK, MARKERS, style, to_svg
from .choice import Outcome

LEAST = 1e-7
"""Below it a divergence is rounding; the axis is logarithmic."""


def draw(outcomes: Sequence[Outcome], chosen: Outcome | None, *, ink: str = INK) -> Figure:
    """One panel; candidates that miss the target are hollow."""
    figure = Figure(figsize=(7.4, 4.6), layout="constrained")
    axes = figure.add_subplot()
    style(axes)
    axes.set_yscale("log")
    axes.set_xlabel("prefill, FLOPs of the decoder layers (% of the unpruned model's)", color=ink)
    axes.set_ylabel("KL from the unpruned answers (nats a token)", color=ink)
    methods = sorted({one.candidate.method for one in outcomes})
    for number, method in enumerate(methods):
        colour = COLOURS[number % len(COLOURS)]
        for place, one in enumerate(o for o in outcomes if o.candidate.method == method):
            value = _shown(one.kl.value)
            ends = [[value - _shown(one.kl.low)], [max(one.kl.high, value) - value]]
            axes.errorbar(
                [100 * one.prefill],
                [value],
                yerr=ends,
                color=colour,
                marker=MARKERS[number % len(MARKERS)],
                mfc=colour if one.within else "none",
                ms=6,
                lw=0.8,
                ls="",
                label=None if place else method,
            )
            at = ", ".join(map(str, one.candidate.layers.values()))
            axes.annotate(
                at, (100 * one.prefill, value), xytext=(5, 3), textcoords="offset points",
                fontsize=7, color=colour,
            )  # fmt: skip
    line = sorted((o for o in outcomes if o.on_frontier), key=lambda o: o.prefill)
    axes.plot(
        [100 * o.prefill for o in line], [_shown(o.kl.value) for o in line], color=ink, lw=0.8,
        alpha=0.6, zorder=0,
    )  # fmt: skip
    if chosen is not None:
        axes.plot(
            100 * chosen.prefill, _shown(chosen.kl.value), marker="o", ms=14, mfc="none", mec=ink,
            ls="", label="chosen",
        )  # fmt: skip
    axes.legend(frameon=False, fontsize=8, labelcolor=ink)
    axes.set_title("numbers: layers; hollow: misses the target", loc="left", fontsize=9, color=ink)
    return figure


def svg(outcomes: Sequence[Outcome], chosen: Outcome | None) -> str:
    """For a page, in the colour of its text."""
    return to_svg(draw(outcomes, chosen))


def png(outcomes: Sequence[Outcome], chosen: Outcome | None, path: Path) -> None:
    draw(outcomes, chosen, ink="#222222").savefig(path, dpi=130)


def _shown(value: float) -> float:
    return max(value, LEAST)
