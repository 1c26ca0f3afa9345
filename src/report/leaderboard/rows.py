"""One row for each method, budget and form: scores, paired differences, cost, and who is beaten."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from ...configuration.swaps import WITH_IVC
from ...runs.read import Run, Score
from ..paired import Difference, mean_difference, paired_differences

ALIKE = 1.0
"""Percent of tokens, or of vanilla's speed, by which methods at one budget come to differ."""


@dataclass(frozen=True)
class Speed:
    """What `job=efficiency` measured of a method at the budget, on the model that it names.

    Attributes:
        limit: vanilla's FLOPs of the language model's prefill through the method's.
        reached: speed-up of that prefill, median over rounds.
        selection: all that the pruner does, as a share of vanilla's prefill.
    """

    limit: float
    reached: float
    selection: float


@dataclass(frozen=True)
class Row:
    """A method at a budget.

    Attributes:
        method: the policy's name without the coordinates.
        ivc: whether the coordinates were added.
        asked: share of average tokens that was asked for; None for vanilla.
        to_vanilla, to_plain: mean paired differences over tasks, to no pruning and to the same
            method at the same budget without the coordinates.
        best_by_tokens, best_by_prefill: no other row is nowhere worse and somewhere better in mean
            score and that cost.
    """

    method: str
    ivc: bool
    asked: float | None
    average_tokens: float
    kv_bytes: float | None
    scores: Mapping[str, Score]
    mean: float
    n: int
    to_vanilla: Difference | None = None
    to_plain: Difference | None = None
    speed: Speed | None = None
    best_by_tokens: bool = False
    best_by_prefill: bool = False

    @property
    def label(self) -> str:
        return self.method + (WITH_IVC if self.ivc else "")


def rows_of(
    runs: Sequence[Run], shares: Sequence[float], speeds: Mapping[tuple[str, float], Speed]
) -> list[Row]:
    """Rows of vanilla and of all runs that were brought to one of the shares, best first.

    Args:
        runs: comparable ones.
        shares: of average tokens.
        speeds: by the policy's name and the share asked for.
    """
    vanilla = next((run for run in runs if run.is_vanilla), None)
    chosen = {key: run for run in runs if (key := _key(run)) is not None and key[1] in shares}
    samples = {key: run.samples() for key, run in chosen.items()}
    rows = [] if vanilla is None else [_row(vanilla, None)]
    for (policy, asked), run in chosen.items():
        row = replace(_row(run, asked), speed=speeds.get((policy, asked)))
        mine = samples[policy, asked]
        if vanilla is not None:
            row = replace(row, to_vanilla=_difference(mine, vanilla.samples()))
        if row.ivc and (plain := samples.get((row.method, asked))) is not None:
            row = replace(row, to_plain=_difference(mine, plain))
        rows.append(row)
    rows.sort(key=lambda row: (-(row.asked or 2.0), -row.mean, row.label))
    return _marked(rows)


def speeds_of(efficiency: Mapping[str, Any]) -> dict[tuple[str, float], Speed]:
    """By policy and share, what an `efficiency.json` says of the prefill of its first size."""
    found = {}
    for measured in efficiency["cells"][0]["policies"].values():
        if measured["asked_average_tokens"] is not None:
            found[measured["policy"], measured["asked_average_tokens"]] = Speed(
                limit=measured["limit"],
                reached=measured["speed_up"]["language_ms"]["median"],
                selection=measured["overhead_of_vanilla_prefill"]["median"],
            )
    return found


def _key(run: Run) -> tuple[str, float] | None:
    asked = (run.config.get("policy") or {}).get("average_tokens")
    return None if asked is None or run.is_vanilla else (run.policy, float(asked))


def _row(run: Run, asked: float | None) -> Row:
    values = [score.value for score in run.shown.values() if score.value is not None]
    return Row(
        method=run.policy.removesuffix(WITH_IVC),
        ivc=run.policy.endswith(WITH_IVC),
        asked=asked,
        average_tokens=1.0 if run.average_tokens is None else run.average_tokens,
        kv_bytes=run.kv_bytes,
        scores=run.shown,
        mean=fmean(values) if values else 0.0,
        n=run.n,
    )


def _difference(
    mine: Iterable[Mapping[str, Any]], others: Iterable[Mapping[str, Any]]
) -> Difference | None:
    pairs = paired_differences(mine, others)
    return mean_difference(list(pairs.values())) if pairs else None


def _marked(rows: Sequence[Row]) -> list[Row]:
    """The rows, those that no other one dominates marked."""
    tokens = [(row.mean, -100 * row.average_tokens) for row in rows]
    speeds = [
        (row.mean, 100.0 if row.speed is None else 100 * row.speed.reached)
        for row in rows
        if row.speed is not None or row.asked is None
    ]
    return [
        replace(
            row,
            best_by_tokens=not _beaten(mine, tokens),
            best_by_prefill=row.speed is not None
            and not _beaten((row.mean, 100 * row.speed.reached), speeds),
        )
        for row, mine in zip(rows, tokens, strict=True)
    ]


def _beaten(mine: tuple[float, float], others: Iterable[tuple[float, float]]) -> bool:
    """Whether another has a better score at this thrift or more of it, or this score at more.

    Args:
        mine, others: (score, thrift in percent); thrifts up to `ALIKE` apart are alike.
    """
    return any(
        (score > mine[0] and thrift >= mine[1] - ALIKE)
        or (score == mine[0] and thrift > mine[1] + ALIKE)
        for score, thrift in others
    )
