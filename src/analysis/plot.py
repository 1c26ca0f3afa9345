"""Attention per token over the layers, one line per set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from ..report.plots import COLOURS, MARKERS

if TYPE_CHECKING:
    from ..jobs.attention_mass import Summary


def draw_densities(summaries: Sequence[Summary], path: Path) -> None:
    """One panel for each kind of asking token; bars are 95 % intervals over samples."""
    panels = list(dict.fromkeys(summary.asking for summary in summaries))
    names = list(dict.fromkeys(summary.tokens for summary in summaries))
    figure = Figure(figsize=(4.6 * len(panels), 3.4), layout="constrained")
    for number, asking in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), number + 1)
        axes.axhline(1.0, color="#888888", lw=1, ls=(0, (4, 3)))
        for i, name in enumerate(names):
            line = [s for s in summaries if s.asking == asking and s.tokens == name]
            axes.errorbar(
                [s.layer + 0.06 * (i - len(names) / 2) for s in line],
                [s.density for s in line],
                yerr=[[s.density - s.low for s in line], [s.high - s.density for s in line]],
                color=COLOURS[i % len(COLOURS)],
                marker=MARKERS[i % len(MARKERS)],
                ms=4,
                lw=1.2,
                label=name,
            )
        axes.set_title(f"asked by the {asking} token{'s' if asking == 'question' else ''}")
        axes.set_xlabel("decoder layer")
        axes.set_ylabel("attention per token\n(average visual token = 1)")
        axes.set_xticks(sorted({s.layer for s in summaries}))
        axes.legend(frameon=False, fontsize=8)
    n = max(summary.n for summary in summaries)
    figure.suptitle(f"mean over {n} samples, bars: 95 % intervals", fontsize=9)
    figure.savefig(path, dpi=150)
