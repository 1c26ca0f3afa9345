"""How far a figure on n samples can be trusted: 95 % intervals, by formula or by resampling.

Each resampling begins with the same random numbers, so that a figure is the same whenever it is
computed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Z_95 = 1.959963984540054
"""97.5 % quantile of the standard normal distribution."""


def wilson(mean: float, n: int, z: float = Z_95) -> tuple[float, float] | None:
    """Wilson score interval of the mean of n independent scores in [0, 1]; None where n = 0.

    For scores of 0 and 1 this is Wilson (1927), "Probable inference, the law of succession, and
    statistical inference". For fractional scores it is conservative: among all distributions on
    [0, 1] with mean p, none has a variance above p (1 - p), which the formula takes. Unlike the
    normal interval it stays inside [0, 1], and perfect scores do not give zero width.
    """
    if n == 0:
        return None
    centre = (mean + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(mean * (1 - mean) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    # At 0 and 1 the bound equals the mean, up to rounding.
    return min(mean, max(0.0, centre - half)), max(mean, min(1.0, centre + half))


def adjusted_wald(strata: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Interval of the unweighted mean over strata of their mean paired difference.

    The adjusted Wald interval of Bonett and Price (2012), "Adjusted Wald confidence interval for a
    difference of binomial proportions based on paired data": one pair won and one pair lost are
    added, so that pairs which all agree still get an honest width. Here it is written for
    differences of any size in [-1, 1] and, with independent strata, for their mean.

    Args:
        strata: the paired differences of each; at least one stratum, none of them empty.
    """
    centre = variance = 0.0
    for differences in strata:
        adjusted = [*differences, 1.0, -1.0]
        n = len(adjusted)
        mean = sum(adjusted) / n
        centre += mean / len(strata)
        variance += (sum(d * d for d in adjusted) / n - mean**2) / n / len(strata) ** 2
    half = Z_95 * math.sqrt(variance)
    return max(-1.0, centre - half), min(1.0, centre + half)


def percentile_interval(values: Sequence[float] | NDArray[np.float64]) -> tuple[float, float]:
    """The middle 95 % of values from resamples (Efron and Tibshirani 1993, "An Introduction to the
    Bootstrap", chapter 13)."""
    low, high = np.percentile(values, (2.5, 97.5))
    return float(low), float(high)


def resampled(n: int, resamples: int, seed: int = 0) -> Iterator[NDArray[np.int64]]:
    """Numbers of the n things, drawn n times with replacement, `[n]`; once for each resample."""
    rng = np.random.default_rng(seed)
    for _ in range(resamples):
        yield rng.integers(n, size=n)


def bootstrap_mean(values: ArrayLike, resamples: int) -> tuple[float, float]:
    """Percentile interval of a mean of independent values; at least one."""
    known = np.asarray(values, dtype=float)
    return percentile_interval([known[drawn].mean() for drawn in resampled(len(known), resamples)])


def bootstrap_mean_of_few(values: Sequence[float], resamples: int) -> tuple[float, float]:
    """As `bootstrap_mean`, for many values of which few are different: much less is drawn.

    Which things are drawn does not matter then, only how many of each value.
    """
    counts, n = Counter(values), len(values)
    shares = np.array(list(counts.values())) / n
    drawn = np.random.default_rng(0).multinomial(n, shares, size=resamples)
    return percentile_interval(drawn @ np.array(list(counts), dtype=float) / n)
