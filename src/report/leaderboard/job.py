"""The leaderboard of an experiment: `job=report` writes it where the experiment asks for one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ...api import load_policy, resolve_layers
from ...configuration.swaps import WITH_IVC
from ...models.loading import ModelSpec
from ...runs.grouping import comparable, describe_setting
from ...runs.read import Run
from ..formats import share
from .page import Absent, write
from .rows import Row, rows_of, speeds_of


def write_leaderboard(
    shares: Sequence[float],
    methods: Sequence[str],
    spec: ModelSpec,
    experiment: Path,
    runs: Sequence[Run],
    efficiency: str | None,
) -> list[Path]:
    """The files of the newest group of comparable runs.

    Args:
        shares: of the tokens, in [0, 1]: at which methods are compared.
        methods: names of policies; of those without a run, the page says why.
        spec: the model that they are asked to fit.
        experiment: folder of the runs; the files go there.
        efficiency: an `efficiency.json` of the same policies; None: no times.

    Raises:
        FileNotFoundError, ValueError: there is no such file, or it is none of this version.
    """
    group = comparable(runs)[0]
    measured = None if efficiency is None else _read(Path(efficiency).expanduser())
    rows = rows_of(group, shares, {} if measured is None else speeds_of(measured))
    facts = {
        "Accuracy": f"{group[0].model} on {group[0].data}, {max(run.n for run in group)} samples",
        "Settings": describe_setting(group),
        "Prefill": "not measured" if measured is None else _told(measured),
    }
    absent = list(_absent(methods, rows, shares, spec))
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
    methods: Sequence[str], rows: Sequence[Row], shares: Sequence[float], spec: ModelSpec
) -> Iterator[Absent]:
    """Methods at a share without a row, with what the code says of it."""
    there = {(row.label, row.asked) for row in rows}
    for name in methods:
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
                    reason = f"no finished run at {share(asked)}"
                except ValueError as error:
                    reason = str(error)
                yield Absent(label, asked, reason)
