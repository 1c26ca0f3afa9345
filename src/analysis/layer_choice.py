"""What came of `job=select_layer`: a file, a plot, and a table that says how to set the layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from rich import box
from rich.table import Table

from ..models.base import SELECTION_LAYER
from ..report.console import table_console
from ..report.formats import number, percent
from ..report.plots import COLOURS, MARKERS
from ..runs.directory import RunDirectory
from ..runs.read import Run


@dataclass(frozen=True)
class LayerScore:
    """How a selection at one layer does.

    Attributes:
        score: mean of `scores`.
        scores: of each task, or the benchmark's headline metric where it has its own.
        average_tokens: measured share of the visual tokens in the cache, in [0, 1].
        run: key of the run.
    """

    layer: int
    score: float
    scores: dict[str, float]
    average_tokens: float | None
    run: str


def report_choice(
    folder: Path,
    subset_seed: int,
    stage: str,
    tried: Sequence[LayerScore],
    chosen: LayerScore,
    done: Run,
) -> None:
    """`layer_choice.json`, `layer_choice.png`, and a table that says how to set the layer."""
    ids = [row["sample_id"] for row in done.samples()]
    choice: dict[str, Any] = {
        "model": done.model,
        "data": done.data,
        "policy": done.policy,
        "stage": stage,
        "chosen": chosen.layer,
        "layers": [asdict(item) for item in tried],
        "size": len(ids),
        "subset_seed": subset_seed,
        "ids": ids,
    }
    RunDirectory(folder).write_json("layer_choice.json", choice)
    title = f"{done.model} on {len(ids)} samples of {done.data}"
    figure = _plot(tried, chosen)
    figure.suptitle(f"{done.policy}, {title}; dashed: the choice, layer {chosen.layer}", fontsize=9)
    figure.savefig(folder / "layer_choice.png", dpi=150)
    console = table_console()
    console.print(_table(tried, chosen, title))
    path = folder / "layer_choice.json"
    for line in (
        f"chosen: layer {chosen.layer}, of the best mean",
        f"set it for a run:        policy.stages.{stage}.layer={chosen.layer}",
        f"set it for a model:      model.selection_layer={chosen.layer}",
        f'set it for a checkpoint: "{SELECTION_LAYER}": {chosen.layer} in its config.json',
        f"compare its runs: job=report paths.output_dir={folder.parent} "
        f"experiment_name={folder.name}",
        f"scores without the samples it was chosen on: job=report job.without={path}",
    ):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _table(tried: Sequence[LayerScore], chosen: LayerScore, title: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("layer", *chosen.scores, "mean", "tokens"):
        table.add_column(name, justify="right")
    for item in tried:
        cells = [number(item.scores.get(task)) for task in chosen.scores]
        tokens = percent(None if item.average_tokens is None else 100 * item.average_tokens)
        style = "bold" if item is chosen else None
        table.add_row(str(item.layer), *cells, number(item.score), tokens, style=style)
    return table


def _plot(tried: Sequence[LayerScore], chosen: LayerScore) -> Figure:
    """Scores above, average tokens below, over the layers."""
    figure = Figure(figsize=(6, 4.5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    layers = [item.layer for item in tried]
    curves = {task: [item.scores.get(task) for item in tried] for task in chosen.scores}
    if len(curves) > 1:
        curves["mean"] = [item.score for item in tried]
    for i, (name, scores) in enumerate(curves.items()):
        colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
        above.plot(layers, scores, color=colour, marker=marker, ms=5, lw=1.2, label=name)
    shares = [100 * (item.average_tokens or 0.0) for item in tried]
    below.plot(layers, shares, color=COLOURS[0], marker=MARKERS[0], ms=5, lw=1.2)
    below.set_ylim(0, 104)
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes, label in ((above, "score (%)"), (below, "tokens (%)")):
        axes.set_ylabel(label)
        axes.axvline(chosen.layer, color="#767676", lw=1, ls=(0, (4, 3)), zorder=1)
        axes.spines[["top", "right"]].set_visible(False)
    below.set_xlabel("selection layer")
    above.legend(frameon=False)
    return figure
