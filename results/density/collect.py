"""From runs to metrics*.json and the tables of the page beside them, of each folder that is given.

python results/density/collect.py outputs/density outputs/density_fresh
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
FIXED, QUARTER = "ivc_prune", "_quarter"
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


def fixed_for(policy: str) -> str:
    """The fixed share that a policy is compared with."""
    return FIXED + QUARTER if policy.endswith(QUARTER) else FIXED


def compared(folder: Path) -> dict[str, Any]:
    """All policies of an experiment, by name."""
    runs: dict[str, dict[str, pd.DataFrame]] = {}
    for policy, data, rows in map(read, [p.parent for p in sorted(folder.glob("*/metrics.json"))]):
        runs.setdefault(policy, {})[data] = rows
    missing = {name for name, of in runs.items() if set(of) != set(CONTENTS)}
    missing |= {fixed_for(name) for name in runs or [FIXED]} - set(runs)
    if missing:
        raise ValueError(f"{folder}: runs of {sorted(missing)} are missing: finish the experiment")
    return {name: entry(of, runs[fixed_for(name)]) for name, of in runs.items()}


def written(page: str, mark: str, body: str) -> str:
    """The page with another text between two marks."""
    begin, end = f"<!-- {mark} -->", f"<!-- /{mark} -->"
    if begin not in page:
        raise ValueError(f"README.md has no {begin}: there is no place for this experiment")
    return re.sub(f"{begin}.*{end}", lambda _: f"{begin}\n{body}\n{end}", page, flags=re.S)


def main() -> None:
    """Reads the runs; writes the figures, and the two tables of each experiment in README.md."""
    tasks = {"read_all": "Strings read", "lookup": "Looking up", "grounding": "Grounding",
             "vqa": "Questions"}  # fmt: skip
    densities = {f"read_{name}": f"Read, {name}" for name in list(READ)[1:]} | dict(
        list(tasks.items())[1:]
    )
    page = (HERE / "README.md").read_text("utf-8")
    for folder in map(Path, sys.argv[1:]):
        found = compared(folder)
        kind = folder.name.removeprefix("density")
        text = json.dumps(found, indent=1, sort_keys=True) + "\n"
        (HERE / f"metrics{kind}.json").write_text(text, encoding="utf-8")
        page = written(page, f"scores{kind}", table(found, tasks, tokens=False))
        page = written(page, f"tokens{kind}", table(found, densities, tokens=True))
    (HERE / "README.md").write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
