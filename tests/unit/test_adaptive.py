"""Adaptive budgets: bounds, monotony, exact totals of videos, and no influence of padding."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ivcprune.selectors import (
    AdaptiveTopUp,
    EvenMassSelector,
    FirstTokenSelector,
    IVCSelector,
    Per,
    RandomSelector,
    TopUp,
)
from ivcprune.selectors.adaptive import mass_before
from ivcprune.testing.tokens import widened
from visual_tokens_helpers import Given, tokens_of


def scores(n):
    return st.lists(st.floats(0, 1, width=32), min_size=n, max_size=n).map(tuple)


def as_video(tokens):
    """Each image of the sample as a frame of one video."""
    rows = tuple(replace(row, image=0, kind="frame") for row in tokens.rows)
    return replace(tokens, rows=rows, blocks=rows)


def adaptive(given_scores, mass=0.5, low=0.25, high=0.75, first=1):
    then = Given(scores=given_scores)
    return AdaptiveTopUp(FirstTokenSelector(first), then, mass, low=low, high=high)


def test_mass_by_hand():
    """Blocks 0 and 1 hold 4, 3, 2, 1 of 10 and 6, 2 of 8; the token of 9 does not count."""
    score = torch.tensor([[2.0, 4.0, 6.0, 1.0, 2.0, 3.0, 9.0]])
    block = torch.tensor([[0, 0, 1, 0, 1, 0, 1]])
    candidates = torch.tensor([[True] * 6 + [False]])
    expected = [0.7, 0.0, 0.0, 0.9, 0.75, 0.4, 1.0]
    assert mass_before(score, block, candidates)[0].tolist() == pytest.approx(expected)


def test_mass_without_any_score():
    nothing = torch.zeros(1, 3)
    whole = torch.ones(1, 3, dtype=torch.bool)
    assert mass_before(nothing, nothing.long(), whole).tolist() == [[1.0, 1.0, 1.0]]


@pytest.mark.parametrize(
    ("mass", "kept"),
    [
        (0.39, [1]),
        (0.4, [1]),
        (0.41, [1, 3]),
        (0.7, [1, 3]),
        (0.71, [0, 1, 3]),
        (1.0, [0, 1, 2, 3]),
    ],
)
def test_the_fewest_that_hold_the_mass(mass, kept):
    then = Given(scores=(2.0, 4.0, 1.0, 3.0))
    best = replace(then, keep=1)  # in any case, so that it changes nothing
    selector = AdaptiveTopUp(best, then, mass, low=1, high=1.0)
    (found,) = selector.select(tokens_of((2, 2)))
    assert found.nonzero()[:, 0].tolist() == kept


def test_a_concentrated_foreground_needs_fewer():
    wide, narrow = (1.0,) * 100, (50.0,) * 2 + (1.0,) * 98
    tokens = tokens_of((10, 10))
    assert adaptive(wide, 0.6).select(tokens).sum() == 60
    # two of 50 and 19 of 1 hold 119 of 198, 60.1 %
    assert adaptive(narrow, 0.6, low=0.1).select(tokens).sum() == 21
    assert adaptive(narrow, 0.6).select(tokens).sum() == 25


@given(scores(24), st.floats(0.01, 1.0), st.floats(0.05, 0.5), st.floats(0.5, 1.0))
def test_bounds(values, mass, low, high):
    kept = int(adaptive(values, mass, low, high).select(tokens_of((4, 6))).sum())
    assert max(1, round(low * 24)) <= kept <= max(1, round(high * 24))


@given(scores(24), st.floats(0.01, 1.0), st.floats(0.01, 1.0))
def test_more_mass_keeps_more(values, one, other):
    tokens = tokens_of((4, 6))
    less, more = (adaptive(values, mass).select(tokens) for mass in sorted((one, other)))
    assert not (less & ~more).any()


@given(scores(24), st.integers(1, 9), st.floats(0.01, 1.0))
def test_padding_changes_nothing(values, extra, mass):
    tokens = tokens_of((4, 6))
    wider = widened(tokens, extra)
    for selector in (adaptive(values, mass), EvenMassSelector(ranking=Given(scores=values))):
        chosen = selector.select(wider) & wider.valid
        assert torch.equal(chosen[:, :24], selector.select(tokens))


FRAMES = ((2, 3), (4, 4), (1, 5))


@settings(max_examples=50)
@given(scores(27), st.floats(0.05, 1.0))
def test_a_video_keeps_exactly_its_budget(values, keep):
    tokens = as_video(tokens_of(*FRAMES))
    then = EvenMassSelector(ranking=Given(scores=values))
    for selector in (replace(then, keep=keep), TopUp(FirstTokenSelector(1), then, keep)):
        kept = Per("image", selector).select(tokens) & tokens.valid
        assert kept.sum() == max(round(keep * 27), int(isinstance(selector, TopUp)))


def test_frames_share_by_need():
    """10 of 13 are in one token of the first frame, and in four of the second."""
    values = (10.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
    tokens = as_video(tokens_of((2, 2), (2, 2)))
    kept = Per("image", EvenMassSelector(0.625, ranking=Given(scores=values))).select(tokens)
    assert kept.tolist() == [[True, False, False, False], [True, True, True, True]]
    # a ranking of the whole clip knows no frames: among equals it takes the first ones
    kept = Per("image", Given(0.625, scores=values)).select(tokens)
    assert kept.tolist() == [[True] * 4, [True, False, False, False]]


@given(scores(24), st.floats(0.05, 1.0))
def test_in_one_picture_the_order_is_the_rankings(values, keep):
    """As long as there are scores that differ: nothing is added to a mass by a score of 0."""
    values = tuple(value + 0.01 for value in values)
    ranking = Given(keep, values)
    tokens = tokens_of((4, 6))
    assert torch.equal(
        EvenMassSelector(keep, ranking=ranking).select(tokens), ranking.select(tokens)
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mass": 0.0}, r"AdaptiveTopUp\.mass is 0\.0: it must be in \(0, 1\]"),
        ({"mass": 1.5}, r"AdaptiveTopUp\.mass is 1\.5"),
        ({"low": 0.8}, r"AdaptiveTopUp\.low is 0\.8, more than its high of 0\.75"),
        ({"high": 1.5}, r"AdaptiveTopUp\.keep is 1\.5"),
    ],
)
def test_refusals(settings, message):
    with pytest.raises(ValueError, match=message):
        AdaptiveTopUp(IVCSelector(), RandomSelector(), **settings)


def test_a_set_is_no_ranking():
    with pytest.raises(TypeError, match=r"AdaptiveTopUp\.then is IVCSelector"):
        AdaptiveTopUp(IVCSelector(), IVCSelector())


def test_no_share_can_be_asked_for():
    with pytest.raises(ValueError, match="choose `mass`, `low` and `high`, or use TopUp"):
        adaptive((1.0,)).with_keep(0.5)
