"""From the runs of `experiment=beyond` to metrics.json, the tables and the plot beside this file.

python results/beyond/collect.py outputs/beyond
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import yaml

from ivcprune.metrics.intervals import wilson
from ivcprune.report.paired import Difference, mean_difference, paired_differences

HERE = Path(__file__).parent
SIZES = {"beyond": 600, "beyond_1200": 1200}
DEPTH = 6
HIDDEN, GROUPED, MLP = 128, 64, 384
ENTRY = 2 * 4 * GROUPED  # bytes that a layer caches of a token in float32
VANILLA, REFERENCE = "none", "ivc_prune, layer 1"


def layer_flops(length: pd.Series) -> pd.Series:
    """Two for each multiply-add of a decoder layer, attention in full; docs/performance.md."""
    weights = HIDDEN * (2 * HIDDEN + 2 * GROUPED + 3 * MLP)
    return 2 * length * weights + 4 * HIDDEN * length**2


def prefill_flops(rows: pd.DataFrame, n_text: pd.Series, layers: dict[str, int]) -> float:
    """Of all samples, without the selections."""
    total, left, names = 0.0, rows.n_visual, sorted(layers, key=layers.__getitem__)
    starts = [0, *(layers[name] for name in names)]
    for start, end, name in zip(starts, [*starts[1:], DEPTH], [*names, ""], strict=True):
        total += float(((end - start) * layer_flops(left + n_text)).sum())
        if name:
            left = rows.kept_by_stage.map(lambda kept, name=name: json.loads(kept)[name])
    return total


def label(policy: str, config: dict[str, Any], layers: dict[str, int]) -> str:
    """What tells the run apart."""
    if policy == VANILLA:
        return VANILLA
    stages = config["policy"]["stages"]
    if policy == "ivc_prune_progressive":
        early, middle = (stages[name]["selector"]["selector"] for name in ("early", "middle"))
        fill = early["then"]["_target_"].rpartition(".")[2].removesuffix("Selector")
        at = f"layers {layers['early']} → {layers['middle']}"
        shares = f"{100 * early['keep']:.0f} → {100 * middle['keep']:.0f} %"
        return f"{policy}, {at}, {fill} {shares}"
    if policy == "ivc_prune_adaptive":
        return f"{policy}, mass {stages['select']['selector']['selector']['mass']}"
    asked = config["policy"]["average_tokens"]
    return f"{policy}, layer {layers['select']}, {100 * asked:.0f} %"


def read(folder: Path, n: int) -> dict[str, Any] | None:
    """One run on the first `n` samples, or None where it has fewer."""
    if not (folder / "metrics.json").is_file():
        return None
    metrics = json.loads((folder / "metrics.json").read_text())
    config = yaml.safe_load((folder / "config.yaml").read_text())
    rows = pd.read_parquet(folder / "samples.parquet").sort_values("sample_id")
    rows = rows.iloc[:n].reset_index(drop=True)
    if len(rows) < n:
        return None
    name = label(metrics["policy"], config, metrics["layers"])
    return {"label": name, "metrics": metrics, "config": config, "rows": rows}


def as_json(found: Difference) -> dict[str, float]:
    """A difference without the number of its pairs."""
    return {"value": found.value, "low": found.low, "high": found.high}


def difference(run: dict[str, Any], to: dict[str, Any]) -> dict[str, float]:
    """Mean paired difference over both tasks, in points."""
    pairs = paired_differences(run["rows"].to_dict("records"), to["rows"].to_dict("records"))
    return as_json(mean_difference(list(pairs.values())))


def of_equal_cost(run: dict[str, Any], runs: dict[str, Any]) -> dict[str, Any]:
    """The published policy at its layer, at the nearest average of tokens."""
    wanted = run["rows"].average_tokens.mean()
    published = [other for name, other in runs.items() if name.startswith(REFERENCE)]
    return min(published, key=lambda other: abs(other["rows"].average_tokens.mean() - wanted))


def entry(run: dict[str, Any], runs: dict[str, Any], n_text: pd.Series) -> dict[str, Any]:
    """One element of metrics.json."""
    metrics, rows, vanilla = run["metrics"], run["rows"], runs[VANILLA]
    scores = {}
    for task, group in rows.groupby("task"):
        low, high = wilson(group.score.mean(), len(group)) or (0.0, 1.0)
        value = 100 * group.score.mean()
        scores[task] = {"value": value, "low": 100 * low, "high": 100 * high, "n": len(group)}
    full = prefill_flops(vanilla["rows"], n_text, {})
    return {
        "label": run["label"],
        "policy": metrics["policy"],
        "model": metrics["model"],
        "data": metrics["data"],
        "layers": metrics["layers"],
        "asked_average_tokens": run["config"]["policy"].get("average_tokens"),
        "n": len(rows),
        "errors": metrics["errors"],
        "average_tokens": rows.average_tokens.mean(),
        "kv_bytes_per_sample": rows.kv_bytes.mean(),
        "prefill_flop_limit": full / prefill_flops(rows, n_text, metrics["layers"]),
        "scores": scores,
        "mean": sum(s["value"] for s in scores.values()) / len(scores),
        "difference_to_vanilla": difference(run, vanilla),
        "difference_to_ivc_prune": difference(run, of_equal_cost(run, runs)),
    }


def row(found: dict[str, Any]) -> str:
    """A line of the table."""
    cells = [f"`{found['policy']}`" + found["label"].removeprefix(found["policy"])]
    cells += [f"{100 * found['average_tokens']:.1f} %", f"{found['prefill_flop_limit']:.2f}"]
    for task in ("grounding", "vqa"):
        score = found["scores"][task]
        cells.append("{value:.1f} ({low:.1f}\u2013{high:.1f})".format(**score))
    for to in ("vanilla", "ivc_prune"):
        found_difference = found[f"difference_to_{to}"]
        text = "{value:+.1f} [{low:+.1f}, {high:+.1f}]".format(**found_difference)
        cells.append(text.replace("-", "\u2212"))
    cells.append("" if found["dominated"] else "yes")
    return "| " + " | ".join(cells) + " |"


def plot(entries: list[dict[str, Any]]) -> None:
    """Mean score against the prefill limit and against average tokens."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), sharey=True, layout="constrained")
    axes[0].set_ylim(65, 100)  # FastV at 25 % is at 36
    kinds = list(dict.fromkeys(found["policy"] for found in entries))
    for axis, key in zip(axes, ("prefill_flop_limit", "average_tokens"), strict=True):
        for kind, marker in zip(kinds, "*osv^D", strict=False):
            some = [found for found in entries if found["policy"] == kind]
            half = [abs(f["difference_to_vanilla"]["high"] - f["difference_to_vanilla"]["low"]) / 2
                    for f in some]  # fmt: skip
            axis.errorbar([f[key] for f in some], [f["mean"] for f in some], half,
                          fmt=marker, label=kind, alpha=0.75, elinewidth=0.8)  # fmt: skip
        axis.set_xlabel(key.replace("_", " ").replace("flop", "FLOP"))
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("mean of grounding and questions, %")
    axes[1].legend(fontsize=8)
    figure.savefig(HERE / "frontier.png", dpi=110)


def dominates(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether it is nowhere worse in score, average tokens and limit, and somewhere better."""
    mine, theirs = (
        (e["mean"], -round(e["average_tokens"], 3), round(e["prefill_flop_limit"], 2))
        for e in (one, other)
    )
    return mine != theirs and all(a >= b for a, b in zip(mine, theirs, strict=True))


def entries_of(folder: Path, n: int) -> list[dict[str, Any]]:
    """All runs of at least `n` samples, by average tokens and score."""
    found = [run for path in sorted(folder.iterdir()) if (run := read(path, n))]
    runs = {run["label"]: run for run in found}
    vanilla = runs[VANILLA]["rows"]
    n_text = vanilla.kv_bytes / (DEPTH * ENTRY) - vanilla.n_visual
    entries = [entry(run, runs, n_text) for run in runs.values()]
    for one in entries:
        one["dominated"] = any(dominates(other, one) for other in entries)
    return sorted(entries, key=lambda e: (-round(e["average_tokens"], 2), -e["mean"]))


def main() -> None:
    """Reads the runs and writes the files; prints the tables."""
    collected = {name: entries_of(Path(sys.argv[1]), n) for name, n in SIZES.items()}
    text = json.dumps(collected, indent=1) + "\n"
    (HERE / "metrics.json").write_text(text, encoding="utf-8")
    plot(collected["beyond"])
    for name, entries in collected.items():
        print(f"\n{name}", *map(row, entries), sep="\n")


if __name__ == "__main__":
    main()
