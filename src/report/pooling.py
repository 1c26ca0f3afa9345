"""One figure over several benchmarks: `pool` of a group in `conf/data_group/`."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from ..metrics.intervals import wilson
from ..runs.grouping import same_but_for_data
from ..runs.read import Figures, Row, Run, Score
from ..runs.schema import Judgement

SUBSET = ("limit", "subset_seed")


@dataclass(frozen=True)
class PooledRun(Run):
    """Runs of several benchmarks, alike in all else, as a run of all their samples.

    Attributes:
        members: one run of each benchmark, in the order of the group.
    """

    members: tuple[Run, ...] = ()

    @property
    def key(self) -> str:
        return " + ".join(run.key for run in self.members)

    @property
    def finished(self) -> float:
        return max(run.finished for run in self.members)

    def samples(self) -> list[Row]:
        """The rows of all members, as of one task, in the category of their benchmark."""
        return [
            row | {"sample_id": f"{run.data}/{row['sample_id']}", "task": self.data,
                   "category": run.data}
            for run in self.members
            for row in run.samples()
        ]  # fmt: skip

    def token_maps(self) -> dict[str, Row]:
        """None: pictures are shown with the benchmarks themselves."""
        return {}


def pool_scores(scores: Sequence[Score]) -> Score:
    """The mean score of all samples, in percent, with Wilson's interval.

    Args:
        scores: means of scores in [0, 1] over the samples of each part, in percent.
    """
    n = sum(score.n for score in scores)
    mean = sum(score.n * (score.value or 0.0) for score in scores) / n if n else 0.0
    interval = wilson(min(mean / 100, 1.0), n)
    if interval is None:
        return Score(None, None, None, 0)
    return Score(mean, 100 * interval[0], 100 * interval[1], n)


def pooled_runs(runs: Iterable[Run], pools: Mapping[str, Sequence[str]]) -> list[Run]:
    """A run for each pool and each setting under which all its benchmarks were run.

    Of several runs of one benchmark under one setting, the newest counts.

    Args:
        pools: benchmarks by the name of their pool.
    """
    settings: dict[str, dict[str, Run]] = defaultdict(dict)
    for run in sorted(runs, key=lambda run: run.finished):
        subset = [(run.config.get("data") or {}).get(name) for name in SUBSET]
        settings[json.dumps([same_but_for_data(run), subset])][run.data] = run
    return [
        _pooled(name, [by_data[member] for member in members])
        for by_data in settings.values()
        for name, members in pools.items()
        if all(member in by_data for member in members)
    ]


def _pooled(name: str, members: Sequence[Run]) -> PooledRun:
    weights = [run.n - run.errors for run in members]
    counts = [run.unread for run in members]
    given = {field.name: getattr(members[0], field.name) for field in fields(Run)}
    return PooledRun(
        **given
        | {
            "data": name,
            "n": sum(run.n for run in members),
            "errors": sum(run.errors for run in members),
            "average_tokens": _mean([run.average_tokens for run in members], weights),
            "kv_bytes": _mean([run.kv_bytes for run in members], weights),
            "scores": _pooled_scores(name, members),
            "published": _pooled_as_published(name, members),
            "unread": None if None in counts else sum(count or 0 for count in counts),
            "headline": (name,),
            "units": {},
            "judge": _judged(members),
            "config": members[0].config | {"data": _data(name, members)},
        },
        members=tuple(members),
    )


def _pooled_scores(name: str, members: Iterable[Run]) -> dict[str, Score]:
    return {name: pool_scores([score for run in members for score in run.shown.values()])}


def _pooled_as_published(name: str, members: Sequence[Run]) -> Figures | None:
    if any(run.published is None for run in members):
        return None
    return Figures(_pooled_scores(name, [run.as_published() for run in members]), {})


def _mean(values: Sequence[float | None], weights: Sequence[int]) -> float | None:
    known = [(v, w) for v, w in zip(values, weights, strict=True) if v is not None and w]
    total = sum(weight for _, weight in known)
    return sum(value * weight for value, weight in known) / total if total else None


def _judged(members: Sequence[Run]) -> Judgement | None:
    judged = [run.judge for run in members if run.judge]
    if not judged:
        return None
    cases, settled = sum(j["cases"] for j in judged), sum(j["settled"] for j in judged)
    return {**judged[0], "cases": cases, "settled": settled}


def _data(name: str, members: Sequence[Run]) -> dict[str, Any]:
    """What stands in the place of a data configuration: tables print it and compare by it."""
    data = [run.config.get("data") or {} for run in members]
    digest = hashlib.sha256(json.dumps(data, sort_keys=True, default=str).encode()).hexdigest()
    return {
        "name": name,
        "_target_": data[0].get("_target_"),
        "pool": ", ".join(run.data for run in members),
        **{key: data[0].get(key) for key in SUBSET},
        "settings": digest[:8],
    }
