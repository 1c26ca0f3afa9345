"""DART keeps the contract of ivcprune's selectors, and its own definition."""

import pytest
import torch
from ivcprune import load_policy
from ivcprune.testing import RecordedSample, check_selector, recorded_tokens

from ivcprune_dart import DARTSelector

TOKENS = [[9, 0], [0, 1], [3, 3], [-1, 0], [1, 0], [0, -2]]
"""Value vectors of a row of six visual tokens; L1 norms 9, 1, 6, 1, 1, 2."""


def kept(selector, text=()):
    values = torch.tensor([[*TOKENS, *text]], dtype=torch.float32)
    sample = RecordedSample(((1, 6),), before=0, after=len(text), values=values)
    return selector.select(recorded_tokens([sample]))[0].nonzero()[:, 0].tolist()


@pytest.mark.parametrize("keep", [0.5, 7, 1.0])
def test_contract(keep):
    check_selector(DARTSelector(keep=keep))


def test_the_shipped_policy_keeps_the_contract():
    check_selector(load_policy("dart").stages["select"].selector)


def test_the_pivot_adds_what_is_least_like_it():
    """Cosines to token 0: token 3 -1, tokens 1 and 5 0, token 2 0.71, token 4 1."""
    assert kept(DARTSelector(keep=2, image_pivots=1)) == [0, 3]
    assert kept(DARTSelector(keep=4, image_pivots=1)) == [0, 1, 3, 5]


def test_pivots_add_in_turn():
    """Pivots 0 and 2 stay; 0 adds token 3, then 2 adds the least like it of 1, 4 and 5."""
    assert kept(DARTSelector(keep=4, image_pivots=2)) == [0, 2, 3, 5]


def test_text_adds_too():
    """The image pivot adds token 3, the text pivot (0, 5) its opposite, token 5."""
    selector = DARTSelector(keep=3, image_pivots=1, text_pivots=1)
    assert kept(selector, text=[[0, 5], [1, 0]]) == [0, 3, 5]


def test_a_small_budget_keeps_the_largest_pivots():
    assert kept(DARTSelector(keep=1)) == [0]


def test_nonsense_is_refused_by_name():
    with pytest.raises(ValueError, match=r"DARTSelector\.image_pivots is 0"):
        DARTSelector(image_pivots=0)
