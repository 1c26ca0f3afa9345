"""How far two policies differ on the same samples."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..metrics.intervals import adjusted_wald


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
    """Unweighted mean over tasks of their mean paired difference, with `adjusted_wald`.

    Args:
        strata: per task, the paired differences; at least one task, none of them empty.
    """
    low, high = adjusted_wald(strata)
    return Difference(
        value=100 * sum(sum(d) / len(d) for d in strata) / len(strata),
        low=100 * low,
        high=100 * high,
        pairs=sum(len(d) for d in strata),
    )
