"""Whether a policy and vanilla differ on the same samples: paired bootstrap and McNemar's test."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ...metrics.intervals import bootstrap_mean_of_few
from ..paired import Difference

RESAMPLES = 10_000


def paired_bootstrap(differences: Sequence[float], resamples: int = RESAMPLES) -> Difference:
    """Mean paired difference with the 95 % percentile interval of resampled pairs.

    Where all pairs agree the bootstrap knows no spread; then the interval has no width, and the
    adjusted interval of `mean_difference` is the honest one.

    Args:
        differences: score minus vanilla's score for each sample, in [-1, 1]; at least one.
    """
    low, high = bootstrap_mean_of_few(differences, resamples)
    n = len(differences)
    return Difference(100 * sum(differences) / n, 100 * low, 100 * high, n)


def mcnemar(differences: Sequence[float]) -> float | None:
    """Two-sided p of the exact McNemar test (McNemar 1947; exact by the binomial distribution).

    None where a score is neither right nor wrong, for which the test is not defined.

    Args:
        differences: score minus vanilla's score for each sample: 1, 0 or -1.
    """
    if any(d not in (-1.0, 0.0, 1.0) for d in differences):
        return None
    won, lost = sum(d > 0 for d in differences), sum(d < 0 for d in differences)
    n, fewer = won + lost, min(won, lost)
    tail = sum(math.exp(_log_choose(n, k) - n * math.log(2)) for k in range(fewer + 1))
    return min(1.0, 2 * tail)


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
