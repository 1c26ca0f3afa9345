"""The leaderboard of an experiment: `job=report` writes it where the experiment asks for one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from ...api import load_policy, resolve_layers
from ...configuration.build import build_model_spec
from ...configuration.swaps import WITH_IVC
from ...models.loading import ModelSpec
from ...runs.grouping import comparable, describe_setting
from ...runs.read import VANILLA, Run
from .page import Absent, write
from .rows import Row, rows_of, speeds_of


def write_leaderboard(
    cfg: DictConfig, experiment: Path, runs: Sequence[Run], efficiency: str | None
) -> list[Path]:
    """The files of the newest group of comparable runs.

    Args:
        cfg: the root configuration, with `leaderboard.shares` and the experiment's `sweeps`.
        efficiency: an `efficiency.json` of the same policies; None: no times.

    Raises:
        FileNotFoundError, ValueError: there is no such file, or it is none of this version.
    """
    shares = [float(asked) for asked in cfg.leaderboard.shares]
    group = comparable(runs)[0]
    measured = None if efficiency is None else _read(Path(efficiency).expanduser())
    rows = rows_of(group, shares, {} if measured is None else speeds_of(measured))
    facts = {
        "Accuracy": f"{group[0].model} on {group[0].data}, {max(run.n for run in group)} samples",
        "Settings": describe_setting(group),
        "Prefill": "not measured" if measured is None else _told(measured),
    }
    absent = list(_absent(cfg, rows, shares, build_model_spec(cfg)))
    return write(experiment, "Visual-token pruning", rows, absent, facts)


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(
            f"job.efficiency is {str(path)!r}, which is no file: measure it with `ivcprune "
            "job=efficiency`, or leave it out"
        )
    content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    policies = content["cells"][0]["policies"].values()
    if any("asked_average_tokens" not in one for one in policies):
        raise ValueError(f"{path} is of an earlier version: measure it again")
    return content


def _told(measured: dict[str, Any]) -> str:
    """What was timed, and where."""
    cell, model, place = measured["cells"][0], measured["model"], measured["environment"]
    return (
        f"{model['name']} ({model['layers']} layers, {model['dtype']}), {cell['visual_tokens']} "
        f"visual tokens, batch {cell['batch']}; {place['device']}, {place['cpu_threads']} threads"
    )


def _absent(
    cfg: DictConfig, rows: Sequence[Row], shares: Sequence[float], spec: ModelSpec
) -> Iterator[Absent]:
    """Methods at a share without a row, with what the code says of it."""
    there = {(row.label, row.asked) for row in rows}
    for name in _methods(cfg):
        for asked in shares:
            for ivc in (False, True):
                label = name + (WITH_IVC if ivc else "")
                if (label, asked) in there:
                    continue
                try:
                    policy = load_policy(
                        name, f"average_tokens={asked}", family=spec.family, ivc=ivc
                    )
                    resolve_layers(policy, spec)
                    reason = "no finished run"
                except ValueError as error:
                    reason = str(error).removeprefix(f"average_tokens={asked} ")
                yield Absent(label, asked, reason)


def _methods(cfg: DictConfig) -> list[str]:
    """All policies of the experiment but vanilla, and those that it names as out of reach."""
    names: dict[str, None] = {}
    for sweep in cfg.get("sweeps") or ():
        policies = [sweep.policy] if isinstance(sweep.policy, str) else sweep.policy
        names |= dict.fromkeys(policies)
    names |= dict.fromkeys(cfg.leaderboard.get("unreached") or ())
    return [name for name in names if name != VANILLA]
