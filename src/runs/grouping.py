"""Which runs may be compared, and what they share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from .read import TRIAL, Run
from .settings import canonical, choices_of, flatten

AVERAGE = "policy.average_tokens"
SET = ("policy.", "model.", "seed", "attention", "generation")
"""How the names of settings begin that comparable runs share and that are none of the data's."""


def comparable(runs: Iterable[Run]) -> list[list[Run]]:
    """Groups of runs that may be compared, the newest first.

    They share model, weights, prompts, samples, code and who judged the answers.
    """
    groups: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        components = [run.config.get("model"), run.config.get("data")]
        origins = list(_origins(run).values())
        judge = run.judge["name"] if run.judge else None
        groups[canonical(run.model, run.data, components, origins, judge)].append(run)
    return sorted(groups.values(), key=lambda group: -max(run.finished for run in group))


def same_but_for_data(run: Run) -> str:
    """What a run shares with runs of other benchmarks that may be put together with it."""
    origins = list(_origins(run).values())
    judge = run.judge["name"] if run.judge else None
    return canonical(run.model, run.config.get("model"), choices_of(run), origins, judge)


def describe_setting(runs: Sequence[Run]) -> str:
    """What the runs of a group share, in words, e.g. "split=test, limit=400, ivcprune=0.1.0".

    After the data's settings come those that the command line of every run set, and the average of
    tokens that all pruned runs were brought to.
    """
    first = runs[0]
    data = flatten(first.config.get("data"))
    shown = {k: v for k, v in data.items() if k not in ("_target_", "name") and v is not None}
    origins = {
        name: str(origin).removeprefix("sha256:")[:8]
        for name, origin in _origins(first).items()
        if origin is not None
    }
    settings = shown | _average(runs) | _set_for_all(runs) | origins
    trial = [TRIAL] if first.is_trial else []
    return ", ".join([*trial, *(f"{name}={value}" for name, value in settings.items())])


def _origins(run: Run) -> dict[str, str | None]:
    """What of `env.json` results depend on: package version, fingerprint of the weights."""
    named = run.environment
    return {"ivcprune": named.get("ivcprune"), "weights": named.get("weights")}


def _average(runs: Sequence[Run]) -> dict[str, object]:
    policies = [run.config.get("policy") or {} for run in runs if not run.is_vanilla]
    shares = {policy.get("average_tokens") for policy in policies}
    share = shares.pop() if len(shares) == 1 else None
    return {} if share is None else {AVERAGE: share}


def _set_for_all(runs: Sequence[Run]) -> dict[str, str]:
    """Overrides of all runs that results depend on, but for the data's, which are shown anyway."""
    common = dict.fromkeys(runs[0].overrides)
    for run in runs[1:]:
        common = {override: None for override in common if override in run.overrides}
    pairs = [override.lstrip("+").partition("=") for override in common]
    return {
        name: value
        for name, _, value in pairs
        if name.startswith(SET) and name != AVERAGE and name not in ("policy", "model")
    }
