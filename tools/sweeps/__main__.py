"""`python -m tools.sweeps --output results/sweeps`: shared against separate sweeps, in turns."""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig

from ivcprune.configuration.build import compose
from ivcprune.efficiency.subjects import Subject
from ivcprune.runs.environment import timing_environment

from .subjects import (
    MODES,
    Policies,
    Reading,
    of_demo,
    of_layers,
    peak_mib,
    whole_command,
)

VISUAL = 1024
NEW_TOKENS = 8
TOWER = {
    "depth": 7,
    "hidden_size": 320,
    "intermediate_size": 864,
    "num_heads": 5,
    "fullatt_block_indexes": [3, 6],
}
"""With this vision tower it takes about a third of the prefill, as in Qwen2.5-VL-7B."""


def mid_model(cfg: DictConfig) -> Subject:
    """The mid-size model of `job=efficiency`, with random weights and a larger tower."""
    cfg.job.model.config.vision_config.update(TOWER)
    subject: Subject = instantiate(cfg.job.model, _convert_="all")
    return subject


def ratios(rounds: Sequence[dict[str, Reading]]) -> dict[str, Any]:
    """Separate / shared in the same round: medians and quartiles."""
    found: dict[str, Any] = {"rounds": len(rounds)}
    for clock in ("wall", "cpu"):
        values = [getattr(r["separate"], clock) / getattr(r["shared"], clock) for r in rounds]
        low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
        found[clock] = {"median": middle, "quartiles": [low, high]}
    found["seconds"] = [{mode: vars(r[mode]) for mode in MODES} for r in rounds]
    return found


def in_turns(run: Callable[[str], Reading], rounds: int) -> list[dict[str, Reading]]:
    """Both modes in each round, which begin in turns."""
    orders = (MODES, MODES[::-1])
    return [{mode: run(mode) for mode in orders[i % 2]} for i in range(rounds)]


def of_policies(policies: Policies, rounds: int) -> dict[str, Any]:
    """A round is thrown away; the answers of both modes must be the same.

    Raises:
        RuntimeError: they are not.
    """
    if policies.run("shared")[1] != policies.run("separate")[1]:
        raise RuntimeError("a shared pass answers otherwise than separate ones")
    return ratios(in_turns(lambda mode: policies.run(mode)[0], rounds))


def page(figures: dict[str, Any], facts: dict[str, Any]) -> str:
    """The figures as Markdown."""
    lines = ["# Sweeps: shared against separate", "", f"`{json.dumps(facts)}`", ""]
    lines += ["| separate / shared | time | CPU time | rounds |", "|---|--:|--:|--:|"]
    for name, figure in figures.items():
        if "wall" in figure:
            cells = [_cell(figure[clock]) for clock in ("wall", "cpu")]
            lines.append(f"| {name} | {' | '.join(cells)} | {figure['rounds']} |")
    memory = figures["peak memory"]
    lines += ["", f"Peak memory of the shared pass / vanilla alone: {memory['ratio']:.2f}", ""]
    return "\n".join(lines)


def _cell(figure: dict[str, Any]) -> str:
    low, high = figure["quartiles"]
    return f"{figure['median']:.2f} ({low:.2f} to {high:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("results/sweeps"))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--limit", type=int, default=400, help="samples of the demo")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    subject = mid_model(compose(["job=efficiency"]))
    eight = Policies(subject, of_demo(subject.family), VISUAL, NEW_TOKENS)
    layers = Policies(subject, of_layers(subject.family, 14), VISUAL, 1)
    memory = {mode: peak_mib(mode, NEW_TOKENS) for mode in ("one", "shared")}
    figures: dict[str, Any] = {
        "8 policies, 8 new tokens": of_policies(eight, given.rounds),
        "13 layers, prefill": of_policies(layers, given.rounds),
        "the demo's command": ratios(
            in_turns(lambda mode: whole_command(mode, given.limit), given.rounds)
        ),
        "peak memory": {"mib": memory, "ratio": memory["shared"] / memory["one"]},
    }
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    facts = {"threads": given.threads, "visual_tokens": VISUAL, **timing_environment(device)}
    given.output.mkdir(parents=True, exist_ok=True)
    content = json.dumps({"facts": facts, "figures": figures}, indent=1)
    (given.output / "sweeps.json").write_text(content + "\n", encoding="utf-8")
    (given.output / "README.md").write_text(page(figures, facts), encoding="utf-8")
    print(page(figures, facts))


if __name__ == "__main__":
    main()
