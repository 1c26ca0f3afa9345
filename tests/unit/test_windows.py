"""Window FastV against the quota rule written out in plain Python."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ivcprune.selectors import WindowFastVSelector
from visual_tokens_helpers import tokens_of


@dataclass(frozen=True, kw_only=True)
class Given(WindowFastVSelector):
    """With scores from outside."""

    scores: Any = None

    def score(self, tokens):
        return self.scores


def by_hand(scores, height, width, window, k):
    n = height * width
    members: dict[tuple[int, int], list[int]] = {}
    for i in range(n):
        members.setdefault((i // width // window, i % width // window), []).append(i)
    chosen, waiting = [], []
    for tokens in members.values():
        tokens.sort(key=lambda i: (-scores[i], i))
        whole, remainder = divmod(len(tokens) * k, n)
        chosen += tokens[:whole]
        if remainder:
            waiting.append((-remainder, -scores[tokens[whole]], tokens[whole]))
    return sorted(chosen + [i for *_, i in sorted(waiting)[: k - len(chosen)]])


@settings(deadline=None, max_examples=80)
@given(
    height=st.integers(1, 11),
    width=st.integers(1, 11),
    window=st.integers(1, 5),
    keep=st.floats(0.05, 1.0),
    seed=st.integers(0, 99),
)
def test_quota_by_largest_remainder(height, width, window, keep, seed):
    n = height * width
    # few distinct values, so that ties happen
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(0, 6, (1, n), generator=generator).float()
    selector = Given(keep=keep, window=window, scores=scores)
    chosen = selector.select(tokens_of((height, width)))[0].nonzero()[:, 0].tolist()
    assert chosen == by_hand(scores[0].tolist(), height, width, window, round(keep * n))


def test_each_window_keeps_its_share():
    scores = torch.arange(64.0)[None]  # plain FastV would take the lower half
    kept = Given(keep=0.5, window=4, scores=scores).select(tokens_of((8, 8)))[0].view(8, 8)
    assert [int(w.sum()) for half in kept.split(4) for w in half.split(4, dim=1)] == [8] * 4


@pytest.mark.parametrize(("survivors", "k"), [([5], 1), ([0, 7, 63], 2), ([3, 60], 2), ([], 1)])
def test_a_later_stage_with_fewer_survivors_than_windows(survivors, k):
    """32 windows of 2 x 1 and 2 x 2 cells, most of them empty."""
    tokens = tokens_of((8, 15))
    number = torch.arange(120)[None]
    left = torch.isin(number, torch.tensor(survivors, dtype=torch.long))
    later = tokens.survivors(left, [len(survivors)], tokens.slot)
    scores = torch.arange(len(survivors)).float()[None]
    chosen = Given(keep=k, window=2, scores=scores).select(later)
    # of equal shares the better score wins
    best = survivors[-k:] if survivors else []
    assert later.ordinal[chosen].tolist() == best


def test_window_of_no_size():
    with pytest.raises(ValueError, match=r"WindowFastVSelector\.window is 0"):
        WindowFastVSelector(window=0)
