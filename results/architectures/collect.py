"""From the runs of `experiment=architectures` to metrics.json, tables.md and the plot beside this.

python results/architectures/collect.py outputs/architectures
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import matplotlib.pyplot as plt

from ivcprune.metrics.answers import normalise
from ivcprune.metrics.strings import strings_in_order
from ivcprune.report.paired import Difference, mean_difference
from ivcprune.runs.read import VANILLA, Row, Run, load_run

HERE = Path(__file__).parent
MODELS = {
    "tiny_text": "Qwen2.5-VL, M-RoPE",
    "tiny_llava_text": "LLaVA, 1-D, one square",
    "tiny_internvl_text": "InternVL, 1-D, tiles",
}
DATA = {"scenes": "scenes", "scenes_read": "reading", "scenes_lookup": "look-up"}
READING = "scenes_read"
CONTROLS = ("foreground_only", "foreground_random", "foreground_first_token", "foreground_border")
COUNTED = {"tiny_llava_text": "ivc_prune_10", "tiny_internvl_text": "ivc_prune_10"}
"""Models on which another policy has as many coordinates as the controls have tokens instead."""
TILES = "ivc_prune_tiles_random"
"""The control of what is published for tiles, to be compared with that."""
SHARES = (0.5, 0.25)

Strata = dict[tuple[str, str], dict[str, float]]
"""What each sample reached, in [0, 1], by task and category."""


@dataclass(frozen=True)
class Cell:
    """One run. `values`: of each sample, by id; `strata`: its task and category."""

    model: str
    data: str
    policy: str
    asked: float | None
    average_tokens: float
    values: dict[str, float]
    strata: dict[str, tuple[str, str]]

    @property
    def key(self) -> tuple[str, str, str, float | None]:
        return self.model, self.data, self.policy, self.asked


def reached(row: Row, data: str) -> float:
    """The share of a page's strings that were read in order; else the sample's score."""
    if data != READING:
        return float(row["score"])
    wanted, said = (normalise(text).split() for text in (row["target"], row["parsed"]))
    return strings_in_order(said, wanted) / len(wanted)


def cell_of(run: Run) -> Cell:
    """A run's samples.

    Raises:
        ValueError: some of them failed.
    """
    rows = run.samples()
    if failed := [row["sample_id"] for row in rows if row["score"] is None]:
        raise ValueError(f"{run.folder}: {len(failed)} samples have no score, {failed[0]} first")
    return Cell(
        run.model,
        run.data,
        run.policy,
        run.config["policy"].get("average_tokens"),
        1.0 if run.average_tokens is None else run.average_tokens,
        {row["sample_id"]: reached(row, run.data) for row in rows},
        {row["sample_id"]: (row["task"], row["category"]) for row in rows},
    )


def mean_of(cell: Cell, base: Cell | None = None, category: str | None = None) -> Difference:
    """Mean over tasks with its interval, in points; of paired differences where there is a base."""
    strata: dict[str, list[float]] = defaultdict(list)
    for sample, value in cell.values.items():
        task, found = cell.strata[sample]
        if category in (None, found):
            strata[task].append(value - (base.values[sample] if base else 0.0))
    return mean_difference(list(strata.values()))


def told(found: Difference, sign: str = "") -> str:
    """A figure with its interval."""
    text = f"{found.value:{sign}.1f} [{found.low:{sign}.1f}, {found.high:{sign}.1f}]"
    return text.replace("-", "\u2212")


def score_table(model: str, cells: Sequence[Cell]) -> Iterable[str]:
    """All policies on a model: score by kind of question, and dense pages by themselves."""
    by_key = {cell.key: cell for cell in cells}
    names = list(dict.fromkeys(cell.policy for cell in cells if cell.model == model))
    yield f"| {MODELS[model]} | tokens | " + " | ".join(DATA.values()) + " | dense pages |"
    yield "|---|--:|" + "--:|" * (len(DATA) + 1)
    for asked in (None, *SHARES):
        for name in names:
            row = [by_key.get((model, data, name, asked)) for data in DATA]
            there = [cell for cell in row if cell]
            if not there:
                continue
            tokens = [f"{100 * cell.average_tokens:.1f}" for cell in there]
            figures = [told(mean_of(cell)) if cell else "" for cell in row]
            pages = row[list(DATA).index(READING)]
            dense = told(mean_of(pages, category="dense")) if pages else ""
            yield f"| `{name}` | {min(tokens)} % | {' | '.join(figures)} | {dense} |"


def control_table(cells: Sequence[Cell]) -> Iterable[str]:
    """What coordinates, seeds and foreground have over controls at equal tokens, in points."""
    by_key = {cell.key: cell for cell in cells}
    yield "| coordinates less | share | model | " + " | ".join(DATA.values()) + " |"
    yield "|---|--:|---|" + "--:|" * len(DATA)
    for name in (*CONTROLS, TILES):
        for asked in SHARES:
            for model in MODELS:
                ours = "ivc_prune" if name == TILES else COUNTED.get(model, "ivc_prune")
                pairs = [
                    (
                        by_key.get((model, d, ours, asked)),
                        by_key.get((model, d, name, asked)),
                    )
                    for d in DATA
                ]
                if all(one and other for one, other in pairs):
                    texts = [told(mean_of(one, other), "+") for one, other in pairs if one]
                    row = " | ".join(texts)
                    yield f"| `{name}` | {100 * asked:.0f} % | {MODELS[model]} | {row} |"


def as_json(cell: Cell, vanilla: Cell) -> dict[str, object]:
    """A run with what tells it from vanilla."""
    categories = sorted({category for _, category in cell.strata.values()})
    tasks = {task for task, _ in cell.strata.values()}
    return {
        "model": cell.model,
        "data": cell.data,
        "policy": cell.policy,
        "asked_average_tokens": cell.asked,
        "average_tokens": cell.average_tokens,
        "n": len(cell.values),
        "tasks": sorted(tasks),
        "score": asdict(mean_of(cell)),
        "difference_to_vanilla": asdict(mean_of(cell, vanilla)),
        "by_category": {
            name: asdict(mean_of(cell, category=name)) for name in categories if len(tasks) == 1
        },
    }


def plot(cells: Sequence[Cell]) -> None:
    """Score by policy, a panel for each model and kind of question."""
    figure, axes = plt.subplots(
        len(MODELS),
        len(DATA),
        figsize=(11, 5 * len(MODELS)),
        sharex="col",
        sharey=True,
        layout="constrained",
    )
    names = list(dict.fromkeys(cell.policy for cell in cells if cell.policy != VANILLA))
    for line, model in zip(axes, MODELS, strict=True):
        for axis, data in zip(line, DATA, strict=True):
            some = [cell for cell in cells if (cell.model, cell.data) == (model, data)]
            for asked, colour in zip(SHARES, ("C0", "C1"), strict=True):
                shown = [cell for cell in some if cell.asked == asked and cell.policy != VANILLA]
                found = [mean_of(cell) for cell in shown]
                axis.errorbar(
                    [f.value for f in found],
                    [names.index(cell.policy) for cell in shown],
                    xerr=[[f.value - f.low for f in found], [f.high - f.value for f in found]],
                    fmt="o",
                    color=colour,
                    label=f"{100 * asked:.0f} % of the tokens",
                )
            for cell in some:
                if cell.policy == VANILLA:
                    axis.axvline(mean_of(cell).value, color="grey", label="vanilla")
            axis.set_title(f"{MODELS[model]}: {DATA[data]}", fontsize=9)
            axis.grid(alpha=0.3)
            axis.set_yticks(range(len(names)), names)
    axes[0, 0].invert_yaxis()
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    for axis in axes[-1]:
        axis.set_xlabel("score, %, with its 95 % interval")
    figure.savefig(HERE / "architectures.png", dpi=110)


def main() -> None:
    """Reads the runs, writes the files and prints the tables."""
    folders = [path.parent for path in sorted(Path(sys.argv[1]).glob("*/metrics.json"))]
    cells = [cell_of(load_run(folder)) for folder in folders]
    vanilla = {(cell.model, cell.data): cell for cell in cells if cell.policy == VANILLA}
    content = [as_json(cell, vanilla[cell.model, cell.data]) for cell in cells]
    text = json.dumps(content, indent=1) + "\n"
    (HERE / "metrics.json").write_text(text, encoding="utf-8")
    plot(cells)
    parts = ["\n".join(score_table(model, cells)) for model in MODELS]
    tables = "\n\n".join([*parts, "\n".join(control_table(cells))]) + "\n"
    (HERE / "tables.md").write_text(tables, encoding="utf-8")
    print(tables)


if __name__ == "__main__":
    main()
