"""How far a mean score on n samples can be trusted."""

from __future__ import annotations

import math

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
