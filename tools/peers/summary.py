"""Figures of a case: each run's own, and ratios of runs in the same round."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from .plan import NEW_TOKENS, Case, Run

PARTS = ("prefill", "decode", "total")
CLOCKS = ("wall", "cpu")
Rounds = Sequence[dict[str, Any]]
"""Readings by the name of their run."""


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median and quartiles; of a single value, itself."""
    if len(values) == 1:
        return dict.fromkeys(("median", "low", "high"), values[0])
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return {"median": middle, "low": low, "high": high}


def ratio(rounds: Rounds, over: str, under: str) -> dict[str, dict[str, dict[str, float]]]:
    """Seconds of one run / of the other in the same round, by part and clock.

    Both have answered the same samples, so that it is the ratio of seconds a sample, too.
    """
    return {
        part: {
            clock: spread(
                [
                    one[over]["seconds"][part][index] / one[under]["seconds"][part][index]
                    for one in rounds
                ]
            )
            for index, clock in enumerate(CLOCKS)
        }
        for part in PARTS
    }


def net(rounds: Rounds, ours: str, ours_bare: str, theirs: str, theirs_bare: str) -> dict[str, Any]:
    """What pruning leaves of the time of its own unpruned model: ours / theirs, by CPU time.

    What the sides' versions of transformers make of the same model is not in it.
    """

    def left(one: dict[str, Any], run: str, bare: str, part: str) -> float:
        return float(one[run]["seconds"][part][1] / one[bare]["seconds"][part][1])

    return {
        part: spread(
            [left(o, ours, ours_bare, part) / left(o, theirs, theirs_bare, part) for o in rounds]
        )
        for part in PARTS
    }


def agreement(one: dict[str, Any], ours: str, theirs: str) -> dict[str, int]:
    """Kept tokens and answers that two runs have in common."""
    a, b = one[ours], one[theirs]
    answers = zip(a["answers"], b["answers"], strict=True)
    found = {"samples": len(a["answers"]), "answers_equal": sum(x == y for x, y in answers)}
    if a["kept"] and b["kept"]:
        pairs = list(zip(a["kept"], b["kept"], strict=True))
        found["kept"] = sum(len(x) for x, _ in pairs)
        found["kept_by_both"] = sum(len(set(x) & set(y)) for x, y in pairs)
    return found


def summary(case: Case, times: Rounds, peaks: Rounds) -> dict[str, Any]:
    """The record of a case.

    Args:
        times, peaks: rounds that `rounds.measure` gives.
    """
    runs = [run for run in case.runs if run.name in times[0]]
    first, bare = (run.name for run in runs[:2])
    memory = {run.name: statistics.median(one[run.name]["mib"] for one in peaks) for run in runs}
    record: dict[str, Any] = {
        "visual_tokens": case.visual,
        "samples": case.samples,
        "rounds": len(times),
        "runs": {run.name: _figures(case, times, run) for run in runs},
        "peak_mib": memory,
        "ours_over_theirs": {},
    }
    for run in runs[2:]:
        ours = bare if run.variant.startswith("none") else first
        one = {"ours": ours, "seconds": ratio(times, ours, run.name)}
        one["peak"] = memory[ours] / memory[run.name]
        one["agreement"] = agreement(times[0], ours, run.name)
        if ours == first:
            one["net_of_bare"] = net(times, first, bare, run.name, _bare_of(run, runs))
        record["ours_over_theirs"][run.name] = one
    record["readings"] = [
        {name: reading["seconds"] for name, reading in one.items()} for one in times
    ]
    return record


def _bare_of(run: Run, runs: Sequence[Run]) -> str:
    """The unpruned run of the same side, with the same tower where that is named."""
    _, _, rest = run.variant.partition(" ")
    wanted = f"none {rest}".strip() if rest else "none"
    return next(r.name for r in runs if (r.side, r.variant) == (run.side, wanted))


def _figures(case: Case, rounds: Rounds, run: Run) -> dict[str, float]:
    """Medians by CPU time: samples a second, and milliseconds."""

    def median(part: str) -> float:
        return statistics.median(one[run.name]["seconds"][part][1] for one in rounds)

    batches = case.samples / run.batch
    return {
        "samples_per_cpu_second": case.samples / median("total"),
        "prefill_ms": 1000 * median("prefill") / batches,
        "token_ms": 1000 * median("decode") / batches / (NEW_TOKENS - 1),
        "total_ms": 1000 * median("total") / batches,
    }
