"""Which runs may be compared, and what tells them apart."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from .read import TRIAL, Run

ORIGINS = ("ivcprune", "weights")
"""Entries of `env.json` that results depend on: package version, fingerprint of the weights."""


def comparable(runs: Iterable[Run]) -> list[list[Run]]:
    """Groups of runs that may be compared, the newest first.

    They share model, weights, prompts, samples, code and who judged the answers.
    """
    groups: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        components = [run.config.get("model"), run.config.get("data")]
        origins = [run.environment.get(name) for name in ORIGINS]
        judge = (run.judge or {}).get("name")
        groups[_canonical(run.model, run.data, components, origins, judge)].append(run)
    return sorted(groups.values(), key=lambda group: -max(run.finished for run in group))


def same_but_for_data(run: Run) -> str:
    """What a run shares with runs of other benchmarks that may be put together with it."""
    origins = [run.environment.get(name) for name in ORIGINS]
    judge = (run.judge or {}).get("name")
    return _canonical(run.model, run.config.get("model"), _choices(run), origins, judge)


def label_runs(runs: Sequence[Run]) -> dict[str, str]:
    """By run key: the policy, and where several runs share it, the settings that differ."""
    by_policy: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        by_policy[run.policy].append(run)
    labels = {}
    for policy, members in by_policy.items():
        choices = [_choices(run) for run in members]
        names = sorted({name for choice in choices for name in choice})
        differing = [name for name in names if len({_canonical(c.get(name)) for c in choices}) > 1]
        for run, choice in zip(members, choices, strict=True):
            details = ", ".join(f"{name}={choice.get(name)}" for name in differing)
            labels[run.key] = f"{policy} ({details})" if details else policy
    return labels


def describe_setting(run: Run) -> str:
    """What the runs of a group share, in words, e.g. "split=test, limit=400, ivcprune=0.1.0"."""
    data = _flatten(run.config.get("data"))
    origins = {
        name: str(run.environment[name]).removeprefix("sha256:")[:8]
        for name in ORIGINS
        if name in run.environment
    }
    trial = [TRIAL] if run.is_trial else []
    shown = {k: v for k, v in data.items() if k not in ("_target_", "name") and v is not None}
    return ", ".join([*trial, *(f"{name}={value}" for name, value in (shown | origins).items())])


def _choices(run: Run) -> dict[str, Any]:
    """The settings in which runs of one group may differ, by dotted name."""
    settings = {"": run.config.get("policy")}
    return _flatten(settings | {name: run.config.get(name) for name in ("seed", "attention")})


def _flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Leaves of nested mappings by dotted name."""
    if not isinstance(tree, dict):
        return {prefix: tree} if prefix else {}
    leaves: dict[str, Any] = {}
    for name, value in tree.items():
        leaves |= _flatten(value, ".".join(part for part in (prefix, str(name)) if part))
    return leaves


def _canonical(*parts: Any) -> str:
    return json.dumps(parts, sort_keys=True, default=str)
