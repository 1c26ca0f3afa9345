"""How long commands take that compute nothing, or little, beside those of another checkout.

python -m tools.startup --other /path/to/other/.venv/bin/ivcprune --output results/startup

Both programs take turns. Wants an idle machine; the other one's environment should have the same
versions of all packages.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ivcprune.runs.environment import timing_environment

COMMANDS = {
    "--help": ["--help"],
    "a setting that is refused": ["seed=abc"],
    "a policy that is refused": ["policy.stages.select.layer=-3"],
    "a run that is finished": ["data.limit=10"],
    "job=report": ["job=report"],
    "10 samples": ["data.limit=10", "policy=random"],
}
ANEW = "10 samples"
"""Computed each time, in a folder of its own."""

LOADING = "a policy by load_policy, the second time"
AGAIN = """
import time
from ivcprune import load_policy
load_policy("fastv", family="qwen2_5_vl")
started = time.perf_counter()
load_policy("fastv", family="qwen2_5_vl")
print(time.perf_counter() - started)
"""


def seconds(program: str, arguments: Sequence[str], folder: Path) -> tuple[float, float]:
    """Time of a command by the clock on the wall, and of the CPU."""
    command = [program, *arguments]
    if "--help" not in arguments:
        command += [f"paths.output_dir={folder}", f"paths.cache_dir={folder.parent / 'cache'}"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    started, before = time.perf_counter(), os.times()
    subprocess.run(command, env=environment, capture_output=True)
    wall, after = time.perf_counter() - started, os.times()
    cpu = after.children_user + after.children_system
    return wall, cpu - before.children_user - before.children_system


def second_policy(program: str) -> float:
    """Seconds that the second `load_policy` of a name takes, in a new process."""
    command = [str(Path(program).with_name("python")), "-c", AGAIN]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


def measured(programs: dict[str, str], rounds: int) -> dict[str, dict[str, list[Any]]]:
    """Readings by command and program; a first round, which fills caches, is thrown away."""
    found: dict[str, dict[str, list[Any]]] = {
        name: {which: [] for which in programs} for name in (*COMMANDS, LOADING)
    }
    with tempfile.TemporaryDirectory() as place:
        for number in range(rounds + 1):
            for name, arguments in COMMANDS.items():
                for which, program in programs.items():
                    folder = Path(place) / which / (f"{number}" if name == ANEW else "kept")
                    taken = seconds(program, arguments, folder)
                    if number:
                        found[name][which].append(taken)
            for which, program in programs.items():
                again = second_policy(program)
                if number:
                    found[LOADING][which].append((again, again))
    return found


def page(found: dict[str, dict[str, list[Any]]], facts: dict[str, Any]) -> str:
    """Medians, and quartiles of the ratio within a round."""
    lines = ["# Commands that compute little, beside those of another commit", "", __doc__ or ""]
    lines += [f"`{json.dumps(facts)}`", ""]
    for clock, title in enumerate(("By the clock on the wall", "By the CPU's clock")):
        lines += [f"| {title} | other, s | this, s | this / other |", "|---|--:|--:|--:|"]
        for name, times in found.items():
            other, this = ([taken[clock] for taken in times[which]] for which in ("other", "this"))
            ratios = [a / b for a, b in zip(this, other, strict=True)]
            low, middle, high = (
                f"{x:.2g}" for x in statistics.quantiles(ratios, n=4, method="inclusive")
            )
            cells = [f"{statistics.median(x):.2g}" for x in (other, this)]
            lines.append(f"| {name} | {' | '.join(cells)} | {middle} ({low} to {high}) |")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--other", required=True, help="the program of another checkout")
    parser.add_argument("--commit", required=True, help="of that checkout, for the record")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--output", type=Path, default=Path("results/startup"))
    given = parser.parse_args()
    this = str(Path(sys.executable).with_name("ivcprune"))
    found = measured({"other": given.other, "this": this}, given.rounds)
    facts = {"other": given.commit, "rounds": given.rounds}
    facts |= timing_environment(torch.device("cpu"))
    given.output.mkdir(parents=True, exist_ok=True)
    content = json.dumps({"facts": facts, "seconds": found}, indent=1)
    (given.output / "startup.json").write_text(content + "\n", encoding="utf-8")
    (given.output / "table.md").write_text(page(found, facts), encoding="utf-8")


if __name__ == "__main__":
    main()
