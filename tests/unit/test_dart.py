"""DART: pivots by the norm of keys, turns in the order of a set, the least similar states."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ivcprune import load_policy
from ivcprune.selectors import DARTSelector
from ivcprune.selectors.dart import _turns
from ivcprune.testing import RecordedSample, check_selector, recorded_tokens

STATES = [[9.0, 0], [0, 1], [3, 3], [-1, 0], [1, 0], [0, -2]]
"""States of a row of six visual tokens. Cosines to token 0: 1, 0, .71, -1, 1, 0."""
NORMS = [9.0, 1, 6, 1, 1, 2]
"""L1 norms of their keys: the pivots are tokens 0, 2, 5 in this order."""


def kept(selector, text=(), text_norms=(), states=STATES, norms=NORMS):
    """What is kept of the row, with text of such states and key norms behind it."""
    tokens = recorded_tokens([RecordedSample(((1, len(states)),), before=0, after=len(text))])
    keys = torch.zeros_like(tokens.signals.keys)
    # one head and one dimension hold the whole norm, negative: norms are absolute values
    keys[:, 0, 1, 1, :, 2] = -torch.tensor([*norms, *text_norms])
    given = torch.tensor([[*states, *text]], dtype=torch.float32)
    signals = replace(tokens.signals, keys=keys, states=given)
    seen = tokens.with_signals(signals, selector.needs)
    return selector.select(seen)[0].nonzero()[:, 0].tolist()


@pytest.mark.parametrize("keep", [0.5, 7, 1.0])
@pytest.mark.parametrize("exact", [False, True])
def test_contract(keep, exact):
    check_selector(DARTSelector(keep=keep, exact_budget=exact))


def test_each_pivot_adds_the_same_number():
    """int(.5 * 6) // 1 = 3 beside the pivot: the least like token 0 are 3, then 1 and 5."""
    assert kept(DARTSelector(keep=0.5, image_pivots=1, text_pivots=0)) == [0, 1, 3, 5]


def test_what_does_not_come_even_is_left_out():
    """Pivots 0 and 2 add 3 // 2 = 1 each: token 3, then of 1, 4 and 5 the last."""
    assert kept(DARTSelector(keep=0.5, image_pivots=2, text_pivots=0)) == [0, 2, 3, 5]


def test_the_text_adds_too():
    """Text pivot (0, 5) of norm 4, not (5, 0) of norm 3, adds its opposite, token 5."""
    selector = DARTSelector(keep=2, image_pivots=1, text_pivots=1)
    assert kept(selector, text=[[0, 5], [5, 0]], text_norms=[4, 3]) == [0, 3, 5]


def test_an_exact_budget_is_met():
    for keep in range(1, 7):
        selector = DARTSelector(keep=keep, image_pivots=2, text_pivots=0, exact_budget=True)
        assert len(kept(selector)) == keep
    assert kept(DARTSelector(keep=1, exact_budget=True)) == [0]


def test_brought_to_a_share_it_is_exact():
    selector = DARTSelector(keep=0.3).with_keep(0.6)
    assert selector == DARTSelector(keep=0.6, exact_budget=True)


def test_turns_are_those_of_a_set():
    """Places 35, 5 and 64 in a table of 8: 64 is in slot 0, 35 in slot 3, 5 in slot 5."""
    place = torch.tensor([[35, 5, 64], [35, 5, 64]])
    mask = torch.tensor([[True, True, True], [True, False, True]])
    assert _turns(place, mask).tolist() == [[2, 0, 1], [2, 0, 1]]
    assert [35, 5, 64][_turns(place, mask)[0, 0]] == next(iter({35, 5, 64}))


def test_the_order_of_turns_decides():
    """Pivots at 3 and 8 of a row of nine: 8 comes first, though 3 has the larger norm.

    Pivot 8 = (1, 0) takes token 0 = (-1, 0); pivot 3 = (1, .1) would have taken it too, and is left
    with token 1 = (-1, 1).
    """
    rest = [[1.0, 0]] * 5
    states = [[-1.0, 0], [-1, 1], rest[0], [1, 0.1], *rest[1:], [1, 0]]
    norms = [0.0, 0, 0, 5, 0, 0, 0, 0, 4]
    assert kept(
        DARTSelector(keep=2, image_pivots=2, text_pivots=0), states=states, norms=norms
    ) == [0, 1, 3, 8]


def test_padding_moves_no_turn():
    sample = RecordedSample(((5, 7),), before=3, after=9, seed=3)
    alone, padded = (recorded_tokens([sample], padding=n) for n in (0, 5))
    assert torch.equal(DARTSelector().select(alone), DARTSelector().select(padded))


def test_nonsense_is_refused_by_name():
    with pytest.raises(ValueError, match=r"DARTSelector\.image_pivots is 0: .*at least 1"):
        DARTSelector(image_pivots=0)


def test_the_policy():
    (stage,) = load_policy("dart").bind(28, 16, (), 3).stages
    assert stage.layer == 2
    assert stage.selector.selector == DARTSelector(keep=0.5)
