"""What passes of the evaluation loop came to: ratios, table, JSON and plot."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from ..report.formats import DASH
from ..report.plots import COLOURS, MARKERS
from .passes import Pass, Setting
from .result import Spread
from .tables import Grid

EXPLANATION = """\
The whole evaluation loop of `job=predict` on the same samples: decoding and encoding images, moving
them to the device, generating and scoring, without loading the model and without writing files.
Settings take turns in one process; samples a second are medians with quartiles over rounds, ratios
over the first batch size with the same policy and workers in the same round. Padding is the
share of the input sequences of all batches, which hold samples of similar size. Answers
differ that are not, to the letter, what the first batch size answers."""


def baseline_of(setting: Setting, passes: Mapping[Setting, Sequence[Pass]]) -> Setting:
    """The same policy and workers with the batch size that came first."""
    return next(
        other
        for other in passes
        if (other.policy, other.num_workers) == (setting.policy, setting.num_workers)
    )


def rate(passes: Sequence[Pass]) -> Spread:
    """Samples a second."""
    return Spread.of([done.samples_per_second for done in passes])


def gain(passes: Sequence[Pass], baseline: Sequence[Pass]) -> Spread:
    """Samples a second through the baseline's in the same round."""
    pairs = zip(passes, baseline, strict=True)
    return Spread.of([a.samples_per_second / b.samples_per_second for a, b in pairs])


def n_different(passes: Sequence[Pass], baseline: Sequence[Pass]) -> int:
    """Samples that are not answered as by the baseline."""
    ours, theirs = passes[0].answers, baseline[0].answers
    return sum(ours.get(name) != theirs.get(name) for name in ours.keys() | theirs.keys())


def table_of(passes: Mapping[Setting, Sequence[Pass]]) -> Grid:
    """One line for each setting."""
    rows = []
    for setting, done in passes.items():
        baseline = passes[baseline_of(setting, passes)]
        speed, ratio = rate(done), gain(done, baseline)
        rows.append(
            [
                f"`{setting.policy}`",
                str(setting.num_workers),
                str(setting.batch_size),
                _figures(speed),
                _figures(ratio),
                f"{100 * done[0].padding:.1f} %",
                str(n_different(done, baseline)),
                str(done[0].failed),
            ]
        )
    header = [
        *("policy", "workers", "batch", "samples/s", "ratio"),
        *("padding", "differ", "failed"),
    ]
    return Grid("Throughput of the evaluation loop", header, rows)


def _figures(spread: Spread) -> str:
    return f"{spread.median:.2f} ({spread.low:.2f}{DASH}{spread.high:.2f})"


def write(
    folder: Path,
    facts: Mapping[str, Any],
    passes: Mapping[Setting, Sequence[Pass]],
    grid: Grid,
) -> None:
    """`throughput.json`, `README.md` with the table, and the plot."""
    settings = [
        {
            "policy": setting.policy,
            "batch_size": setting.batch_size,
            "num_workers": setting.num_workers,
            "seconds": [one.seconds for one in done],
            "samples_per_second": rate(done).median,
            "of_first_batch_size": gain(done, passes[baseline_of(setting, passes)]).median,
            "padding": done[0].padding,
            "answers_that_differ": n_different(done, passes[baseline_of(setting, passes)]),
            "failed": done[0].failed,
        }
        for setting, done in passes.items()
    ]
    content = json.dumps({**facts, "settings": settings}, indent=1)
    (folder / "throughput.json").write_text(content + "\n", "utf-8")
    about = "\n".join(f"- {name}: {value}" for name, value in facts.items())
    parts = [
        f"# Throughput of `{facts['model']}`",
        about,
        EXPLANATION,
        grid.markdown(),
        "![throughput](throughput.png)",
    ]
    (folder / "README.md").write_text("\n\n".join(parts) + "\n", "utf-8")
    draw(passes, f"{facts['model']}, {facts['data']}").savefig(folder / "throughput.png", dpi=150)


def draw(passes: Mapping[Setting, Sequence[Pass]], title: str) -> Figure:
    """Samples a second against the batch size, a line for each policy and number of workers."""
    lines: dict[tuple[str, int], list[Setting]] = {}
    for setting in sorted(passes, key=lambda setting: setting.batch_size):
        lines.setdefault((setting.policy, setting.num_workers), []).append(setting)
    figure = Figure(figsize=(5.6, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for number, ((policy, workers), settings) in enumerate(sorted(lines.items())):
        axes.plot(
            [setting.batch_size for setting in settings],
            [rate(passes[setting]).median for setting in settings],
            color=COLOURS[number % len(COLOURS)],
            marker=MARKERS[number % len(MARKERS)],
            ms=5,
            lw=1.2,
            label=f"{policy}, {workers} workers",
        )
    ticks = sorted({setting.batch_size for setting in passes})
    axes.set_xscale("log")
    axes.set_xticks(ticks, labels=[str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set_title(title, fontsize=9, loc="left")
    axes.set_xlabel("batch size")
    axes.set_ylabel("samples a second")
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", alpha=0.2, lw=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    return figure
