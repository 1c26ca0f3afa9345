"""How far two policies differ on the same samples."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..metrics.intervals import Z_95


@dataclass(frozen=True)
class Difference:
    """Mean paired difference of scores with its 95 % interval, in percentage points."""

    value: float
    low: float
    high: float
    pairs: int

    @property
    def significant(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0


def paired_differences(
    rows: Iterable[Mapping[str, Any]], baseline: Iterable[Mapping[str, Any]]
) -> dict[str, list[float]]:
    """Score minus baseline score by task, for each sample that both runs could score.

    Args:
        rows, baseline: sample rows with `sample_id`, `task` and `score` in [0, 1] or None.
    """
    before = {row["sample_id"]: row["score"] for row in baseline if row["score"] is not None}
    differences: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        if row["score"] is not None and row["sample_id"] in before:
            differences[row["task"]].append(row["score"] - before[row["sample_id"]])
    return dict(differences)


def mean_difference(strata: Sequence[Sequence[float]]) -> Difference:
    """Unweighted mean over tasks of their mean paired difference.

    The interval is the adjusted Wald interval of Bonett and Price (2012), "Adjusted Wald confidence
    interval for a difference of binomial proportions based on paired data": one pair won and one
    pair lost are added, so that runs which agree on every sample still get an honest width. Here it
    is written for differences of any size in [-1, 1] and, with independent tasks, for their mean.

    Args:
        strata: per task, the paired differences; at least one task, none of them empty.
    """
    centre = variance = 0.0
    for differences in strata:
        adjusted = [*differences, 1.0, -1.0]
        n = len(adjusted)
        mean = sum(adjusted) / n
        centre += mean / len(strata)
        variance += (sum(d * d for d in adjusted) / n - mean**2) / n / len(strata) ** 2
    half = Z_95 * math.sqrt(variance)
    return Difference(
        value=100 * sum(sum(d) / len(d) for d in strata) / len(strata),
        low=100 * max(-1.0, centre - half),
        high=100 * min(1.0, centre + half),
        pairs=sum(len(d) for d in strata),
    )
