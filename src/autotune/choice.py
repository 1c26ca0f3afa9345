"""What became of each candidate, and which one is chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np

from ..metrics.intervals import bootstrap_mean
from .candidates import Candidate
from .rows import Agreement
from .target import Target

RESAMPLES = 2000
ALIKE = 0.01
"""Shares of the prefill that differ by less are no reason to choose: layouts of whole tokens."""


@dataclass(frozen=True)
class Interval:
    """A mean over samples with its 95 % interval, by resampling them."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Interval:
        return cls(fmean(values), *bootstrap_mean(values, RESAMPLES))


@dataclass(frozen=True)
class Outcome:
    """A candidate that was compared on all samples.

    Attributes:
        kl: divergence from the unpruned model's answers, in nats a token.
        same: share of the samples whose answer stays as it is.
        average_tokens: measured share of the visual tokens in the caches.
        prefill: measured share of the FLOPs of the prefill's decoder layers.
        kv_bytes: of a sample.
        within: it meets the target.
        to_best: how much more its divergence is than that of the best one within the target, on
            the same samples; None where there is none.
        on_frontier: nothing agrees as well at a cheaper prefill, nor better at its own.
    """

    candidate: Candidate
    n: int
    kl: Interval
    same: float
    average_tokens: float
    prefill: float
    kv_bytes: float
    within: bool
    to_best: Interval | None = None
    on_frontier: bool = False

    @property
    def ties(self) -> bool:
        """Within the target, and no worse than the best one as far as the samples can tell."""
        return self.within and self.to_best is not None and self.to_best.low <= 0.0


def outcomes_of(
    candidates: Sequence[Candidate], rows: Mapping[str, Sequence[Agreement]], target: Target
) -> list[Outcome]:
    """Of candidates that have rows of the same samples, the best agreement first.

    Args:
        rows: by the candidates' keys; at least one each.
    """
    found = [_outcome(candidate, rows[candidate.key], target) for candidate in candidates]
    found.sort(key=lambda one: (one.kl.value, one.prefill))
    best = next((one for one in found if one.within), None)
    if best is not None:
        base = _by_sample(rows[best.candidate.key])
        found = [replace(one, to_best=_more(rows[one.candidate.key], base)) for one in found]
    return [replace(one, on_frontier=_is_on_frontier(one, found)) for one in found]


def chosen_of(outcomes: Sequence[Outcome]) -> Outcome | None:
    """Of those that tie with the best, the cheapest prefill; of alike ones, the best agreement."""
    ties = [one for one in outcomes if one.ties]
    if not ties:
        return None
    cheapest = min(one.prefill for one in ties)
    alike = [one for one in ties if one.prefill < cheapest + ALIKE]
    return min(alike, key=lambda one: (one.kl.value, one.prefill))


def _outcome(candidate: Candidate, rows: Sequence[Agreement], target: Target) -> Outcome:
    with_pictures = [row.average_tokens for row in rows if row.n_visual]
    tokens = fmean(with_pictures) if with_pictures else 1.0
    prefill = sum(row.flops for row in rows) / sum(row.whole_flops for row in rows)
    return Outcome(
        candidate=candidate,
        n=len(rows),
        kl=Interval.of([row.kl for row in rows]),
        same=fmean(row.same for row in rows),
        average_tokens=tokens,
        prefill=prefill,
        kv_bytes=fmean(row.kv_bytes for row in rows),
        within=target.is_met_by(tokens, prefill),
    )


def _by_sample(rows: Sequence[Agreement]) -> dict[str, float]:
    return {row.sample_id: row.kl for row in rows}


def _more(rows: Sequence[Agreement], base: Mapping[str, float]) -> Interval:
    return Interval.of(np.array([row.kl - base[row.sample_id] for row in rows]).tolist())


def _is_on_frontier(one: Outcome, outcomes: Sequence[Outcome]) -> bool:
    mine = (one.kl.value, one.prefill)
    return not any(
        other.kl.value <= mine[0]
        and other.prefill <= mine[1]
        and (other.kl.value, other.prefill) != mine
        for other in outcomes
    )
