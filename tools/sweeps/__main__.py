"""`python -m tools.sweeps --output results/sweeps`: shared against separate sweeps, in turns.

Every figure is written down when it is there; started again, those are left out: to measure anew,
delete the file. Wants an idle machine.
"""

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
    OTHER,
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


def ratios(rounds: Sequence[dict[str, Reading]], base: str = MODES[0]) -> dict[str, Any]:
    """`base` / shared in the same round: medians and quartiles."""
    found: dict[str, Any] = {"base": base, "rounds": len(rounds)}
    for clock in ("wall", "cpu"):
        values = [getattr(r[base], clock) / getattr(r["shared"], clock) for r in rounds]
        low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
        found[clock] = {"median": middle, "quartiles": [low, high]}
    found["seconds"] = [{mode: vars(reading) for mode, reading in r.items()} for r in rounds]
    return found


def in_turns(
    run: Callable[[str], Reading], rounds: int, modes: Sequence[str] = MODES
) -> list[dict[str, Reading]]:
    """All modes in each round; every other round begins with the last one."""
    return [{mode: run(mode) for mode in modes[:: -1 if i % 2 else 1]} for i in range(rounds)]


def of_policies(policies: Policies, rounds: int) -> dict[str, Any]:
    """A round is thrown away; the answers of both modes must be the same.

    Raises:
        RuntimeError: they are not.
    """
    if policies.run("shared")[1] != policies.run("separate")[1]:
        raise RuntimeError("a shared pass answers otherwise than separate ones")
    return ratios(in_turns(lambda mode: policies.run(mode)[0], rounds))


def of_command(limit: int, rounds: int, other: str | None) -> dict[str, Any]:
    """The demo's command, against another checkout's or against its own separate runs."""
    base = OTHER if other else MODES[0]
    return ratios(
        in_turns(lambda mode: whole_command(mode, limit, other), rounds, (base, MODES[1])), base
    )


def of_memory() -> dict[str, Any]:
    """Peak memory of the shared pass and of vanilla alone, in MiB."""
    mib = {mode: peak_mib(mode, NEW_TOKENS) for mode in ("one", "shared")}
    return {"mib": mib, "ratio": mib["shared"] / mib["one"]}


def page(record: dict[str, Any]) -> str:
    """The figures as Markdown."""
    lines = [
        "# Sweeps: one shared pass against a run a policy",
        "",
        f"`{record['command']}`, resumed where it was interrupted; both sides take turns.",
        f"`{json.dumps(record['facts'])}`",
        "",
        "| Times as fast: median (quartiles) | time | CPU time | rounds | against |",
        "|---|--:|--:|--:|---|",
    ]
    against = {"separate": "sweep=separate", OTHER: f"the build of {record['facts']['other']}"}
    for name, figure in record["figures"].items():
        if "wall" in figure:
            cells = [*(_cell(figure[clock]) for clock in ("wall", "cpu")), str(figure["rounds"])]
            lines.append(f"| {name} | {' | '.join(cells)} | {against[figure['base']]} |")
    memory = record["figures"]["peak memory"]
    lines += ["", f"Peak memory of the shared pass / vanilla alone: {memory['ratio']:.2f}", ""]
    return "\n".join(lines)


def _cell(figure: dict[str, Any]) -> str:
    low, high = figure["quartiles"]
    return f"{figure['median']:.2f} ({low:.2f} to {high:.2f})"


def _begun(path: Path, record: dict[str, Any]) -> dict[str, Any]:
    """What an earlier start measured, where it was the same."""
    if path.exists():
        old: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if old | {"figures": {}} == record:
            return old
    return record


def main() -> None:
    given = _options()
    torch.set_num_threads(given.threads)
    subject = mid_model(compose(["job=efficiency"]))
    figures: dict[str, Callable[[], dict[str, Any]]] = {
        "peak memory": of_memory,
        "8 policies, 8 new tokens": lambda: of_policies(
            Policies(subject, of_demo(subject.family), VISUAL, NEW_TOKENS), given.rounds
        ),
        "13 layers, prefill": lambda: of_policies(
            Policies(subject, of_layers(subject.family, 14), VISUAL, 1), given.rounds
        ),
        f"the demo's command, {given.limit} samples": lambda: of_command(
            given.limit, given.rounds, given.other
        ),
    }
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    facts = {"threads": given.threads, "visual_tokens": VISUAL, "other": given.commit}
    facts |= timing_environment(device)
    command = f"python -m tools.sweeps --rounds {given.rounds}"
    if given.other:
        command += f" --other <ivcprune of {given.commit}> --commit {given.commit}"
    path = given.output / "sweeps.json"
    record = _begun(path, {"command": command, "facts": facts, "figures": {}})
    given.output.mkdir(parents=True, exist_ok=True)
    for name, measure in figures.items():
        if name not in record["figures"]:
            record["figures"][name] = measure()
            path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    (given.output / "table.md").write_text(page(record), encoding="utf-8")
    print(page(record))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("results/sweeps"))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--limit", type=int, default=400, help="samples of the demo")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--other", help="the ivcprune of another checkout, for the demo")
    parser.add_argument("--commit", help="of that checkout, for the record")
    given = parser.parse_args()
    if bool(given.other) != bool(given.commit):
        parser.error("--other and --commit belong together")
    return given


if __name__ == "__main__":
    main()
