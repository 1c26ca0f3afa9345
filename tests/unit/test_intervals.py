"""Intervals against SciPy's, and against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binomtest, bootstrap

from ivcprune.analysis.densities import RESAMPLES as OF_ATTENTION
from ivcprune.metrics.figures import RESAMPLES as OF_METRICS
from ivcprune.metrics.intervals import (
    Z_95,
    adjusted_wald,
    bootstrap_mean,
    bootstrap_mean_of_few,
    percentile_interval,
    resampled,
    wilson,
)
from ivcprune.report.paper.significance import RESAMPLES as OF_PAIRS
from ivcprune.report.paper.significance import mcnemar


def test_each_report_resamples_as_often_as_it_says_in_print() -> None:
    assert (OF_METRICS, OF_ATTENTION, OF_PAIRS) == (1000, 2000, 10_000)


@pytest.mark.parametrize(("hits", "n"), [(0, 1), (1, 1), (0, 40), (3, 7), (93, 100), (5000, 9999)])
def test_wilson(hits: int, n: int) -> None:
    expected = binomtest(hits, n).proportion_ci(0.95, method="wilson")
    assert wilson(hits / n, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize("n", [1, 2, 9, 200])
def test_the_bootstrap_of_a_mean_draws_as_scipy_does(n: int) -> None:
    values = np.random.default_rng(7).normal(size=n)
    if n == 1:
        assert bootstrap_mean(values, 50) == (values[0], values[0])
        return
    expected = bootstrap(
        (values,), np.mean, n_resamples=300, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    assert bootstrap_mean(values, 300) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_few_different_values_are_resampled_to_the_same_interval() -> None:
    """Of 60 hits in 200, the mean of a resample is binomial: its quantiles are known."""
    low, high = bootstrap_mean_of_few([1.0] * 60 + [0.0] * 140, 10_000)
    known = [k / 200 for k in _binomial_quantiles(200, 0.3)]
    assert (low, high) == pytest.approx(known, abs=0.0051)  # one thing of 200
    assert bootstrap_mean_of_few([0.5] * 8, 100) == (0.5, 0.5)


def _binomial_quantiles(n: int, p: float) -> list[int]:
    below, found = 0.0, []
    for k in range(n + 1):
        before, below = below, below + math.comb(n, k) * p**k * (1 - p) ** (n - k)
        found += [k for q in (0.025, 0.975) if before < q <= below]
    return found


def test_resamples_are_the_same_whenever_they_are_drawn() -> None:
    first, again = list(resampled(5, 3)), list(resampled(5, 3))
    assert np.array_equal(first, again)
    assert all(drawn.shape == (5,) and drawn.min() >= 0 and drawn.max() < 5 for drawn in first)


def test_the_middle_of_a_hundred_and_one_values() -> None:
    assert percentile_interval(range(101)) == (2.5, 97.5)


def test_pairs_that_agree_have_an_honest_width() -> None:
    """Two pairs without a difference, one won and one lost added: variance 2 / 4 over 4 pairs."""
    half = Z_95 * math.sqrt(0.5 / 4)
    assert adjusted_wald([[0.0, 0.0]]) == pytest.approx((-half, half))
    # a second such stratum halves the variance of the mean
    half /= math.sqrt(2)
    assert adjusted_wald([[0.0, 0.0], [0.0, 0.0]]) == pytest.approx((-half, half))


def test_no_bound_leaves_the_scale() -> None:
    assert adjusted_wald([[1.0]])[1] == 1.0


@pytest.mark.parametrize(("won", "lost"), [(0, 0), (1, 0), (9, 2), (52, 48)])
def test_mcnemar(won: int, lost: int) -> None:
    expected = binomtest(won, won + lost).pvalue if won + lost else 1.0
    differences = [1.0] * won + [-1.0] * lost + [0.0] * 3
    assert mcnemar(differences) == pytest.approx(expected, abs=1e-12)
