"""Attention per token over the layers: summed up over samples, and drawn, one line per set."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ..metrics.intervals import bootstrap_mean
from ..report.plots import COLOURS, MARKERS
from .attention_mass import Mass

RESAMPLES = 2000


@dataclass(frozen=True)
class Summary:
    """Mean over samples, with the 95 % bootstrap interval of the density."""

    layer: int
    asking: str
    tokens: str
    n: int
    size: float
    mass: float
    visual: float
    density: float
    low: float
    high: float


def summarise(masses: Sequence[Mass]) -> list[Summary]:
    """One summary for each layer, asking tokens and set; samples are resampled together."""
    groups: dict[tuple[int, str, str], list[Mass]] = defaultdict(list)
    for mass in masses:
        groups[mass.layer, mass.asking, mass.tokens].append(mass)
    summaries = []
    for (layer, asking, tokens), group in groups.items():
        density = np.array([mass.density for mass in group])
        low, high = bootstrap_mean(density, RESAMPLES)
        summaries.append(
            Summary(
                layer=layer,
                asking=asking,
                tokens=tokens,
                n=len(group),
                size=_mean(group, "size"),
                mass=_mean(group, "mass"),
                visual=_mean(group, "visual"),
                density=float(density.mean()),
                low=low,
                high=high,
            )
        )
    return summaries


def _mean(group: Sequence[Mass], name: str) -> float:
    return float(np.mean([getattr(mass, name) for mass in group]))


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
