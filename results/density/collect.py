"""From the runs of `experiment=density` to metrics.json and the tables of the page beside it.

python results/density/collect.py outputs/density
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ivcprune.metrics.answers import normalise
from ivcprune.metrics.strings import strings_in_order
from ivcprune.report.paired import mean_difference

HERE = Path(__file__).parent
FIXED = "ivc_prune"
CONTENTS = ("scenes", "scenes_read", "scenes_lookup")
READ = {"all": None, "sparse": "sparse", "medium": "medium", "dense": "dense"}
DRAWS, SEED = 4000, 0


def read(folder: Path) -> tuple[str, str, pd.DataFrame]:
    """Policy, benchmark and samples of one run; of pages also the strings, and those read."""
    metrics = json.loads((folder / "metrics.json").read_text("utf-8"))
    rows = pd.read_parquet(folder / "samples.parquet").sort_values("sample_id", ignore_index=True)
    if metrics["errors"] or rows.score.isna().any():
        raise ValueError(f"{folder.name} has samples without a score: run its command again")
    if metrics["data"] == "scenes_read":
        pairs = [
            (normalise(said).split(), normalise(wanted).split())
            for said, wanted in zip(rows.parsed.fillna(""), rows.target, strict=True)
        ]
        rows["right"] = [strings_in_order(said, wanted) for said, wanted in pairs]
        rows["strings"] = [len(wanted) for _, wanted in pairs]
    return metrics["policy"], metrics["data"], rows


def strings(rows: pd.DataFrame, fixed: pd.DataFrame) -> dict[str, Any]:
    """Strings read, in %, and the difference to the fixed share; intervals resample whole pages."""
    if list(rows.sample_id) != list(fixed.sample_id):
        raise ValueError("two runs are of different pages: run the experiment again")
    drawn = np.random.default_rng(SEED).integers(len(rows), size=(DRAWS, len(rows)))
    right, before = rows.right.to_numpy(), fixed.right.to_numpy()
    total = rows.strings.to_numpy()
    draws = 100 * (right - before)[drawn].sum(axis=1) / total[drawn].sum(axis=1)
    low, high = np.quantile(draws, (0.025, 0.975))
    return {
        "value": 100 * right.sum() / total.sum(),
        "difference": 100 * (right - before).sum() / total.sum(),
        "low": float(low),
        "high": float(high),
        "n": int(total.sum()),
        "tokens": share(rows),
    }


def scores(rows: pd.DataFrame, fixed: pd.DataFrame) -> dict[str, Any]:
    """Mean score, in %, and the paired difference to the fixed share."""
    pairs = rows.merge(fixed, on="sample_id", suffixes=("", "_fixed"), validate="one_to_one")
    if not len(pairs) == len(rows) == len(fixed):
        raise ValueError("two runs are of different samples: run the experiment again")
    found = mean_difference([list(pairs.score - pairs.score_fixed)])
    return {
        "value": 100 * rows.score.mean(),
        "difference": found.value,
        "low": found.low,
        "high": found.high,
        "n": len(rows),
        "tokens": share(rows),
    }


def share(rows: pd.DataFrame) -> float:
    """Average tokens, in %, as measured on the caches; every sample weighs the same."""
    return float(100 * rows.average_tokens.mean())


def entry(runs: dict[str, pd.DataFrame], fixed: dict[str, pd.DataFrame]) -> dict[str, Any]:
    """One policy on all three benchmarks."""
    found: dict[str, Any] = {"tokens": float(np.mean([share(runs[name]) for name in CONTENTS]))}
    for name, category in READ.items():
        chosen = [
            table if category is None else table[table.category == category]
            for table in (runs["scenes_read"], fixed["scenes_read"])
        ]
        found[f"read_{name}"] = strings(*chosen)
    found["lookup"] = scores(runs["scenes_lookup"], fixed["scenes_lookup"])
    for task in ("grounding", "vqa"):
        table, before = (t[t.task == task] for t in (runs["scenes"], fixed["scenes"]))
        found[task] = scores(table, before)
    return found


def figure(cell: dict[str, Any], *, tokens: bool) -> str:
    """`46.3 (50 %)`, or with the difference: `58.0, +11.7 [+9.0, +14.4]`."""
    if tokens:
        return f"{cell['value']:.1f} ({cell['tokens']:.0f} %)"
    text = "{value:.1f}, {difference:+.1f} [{low:+.1f}, {high:+.1f}]".format(**cell)
    return text.replace("-", "\N{MINUS SIGN}")


def table(found: dict[str, Any], columns: dict[str, str], *, tokens: bool) -> str:
    """Markdown; the policies in the order of what they read."""
    order = sorted(found, key=lambda name: -found[name]["read_all"]["value"])
    lines = ["| Policy | Tokens, mixed | " + " | ".join(columns.values()) + " |"]
    lines.append("|---|" + "--:|" * (1 + len(columns)))
    for name in order:
        one = found[name]
        cells = [figure(one[column], tokens=tokens) for column in columns]
        lines.append(f"| `{name}` | {one['tokens']:.1f} % | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Reads the runs; writes metrics.json and the two tables of README.md."""
    folders = [path.parent for path in sorted(Path(sys.argv[1]).glob("*/metrics.json"))]
    runs: dict[str, dict[str, pd.DataFrame]] = {}
    for policy, data, rows in map(read, folders):
        runs.setdefault(policy, {})[data] = rows
    missing = [name for name, of in runs.items() if set(of) != set(CONTENTS)]
    if missing or FIXED not in runs:
        raise ValueError(f"runs are missing of {missing or FIXED}: finish the experiment first")
    found = {name: entry(of, runs[FIXED]) for name, of in runs.items()}
    text = json.dumps(found, indent=1, sort_keys=True) + "\n"
    (HERE / "metrics.json").write_text(text, encoding="utf-8")
    tasks = {"read_all": "Strings read", "lookup": "Looking up", "grounding": "Grounding",
             "vqa": "Questions"}  # fmt: skip
    densities = {f"read_{name}": f"Read, {name}" for name in list(READ)[1:]} | dict(
        list(tasks.items())[1:]
    )
    page = (HERE / "README.md").read_text("utf-8")
    for mark, columns, tokens in (("scores", tasks, False), ("tokens", densities, True)):
        body = f"<!-- {mark} -->\n{table(found, columns, tokens=tokens)}\n<!-- /{mark} -->"
        page = re.sub(f"<!-- {mark} -->.*<!-- /{mark} -->", lambda _, b=body: b, page, flags=re.S)
    (HERE / "README.md").write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
