"""Budgets that are a share of what a ranking may take."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch

from ivcprune.selectors import IVCSelector, RandomSelector, Ranked, TopUp
from visual_tokens_helpers import tokens_of


@dataclass(frozen=True)
class Ascending(Ranked):
    def score(self, tokens):
        return tokens.index.float()


@pytest.fixture
def tokens():
    """Two images of 12 and 8 tokens, of which the first 4 of each are not eligible."""
    tokens = tokens_of((3, 4), (2, 4))
    eligible = tokens.valid.clone()
    eligible[:, :4] = False
    return replace(tokens, eligible=eligible, all_alike=False)


@pytest.mark.parametrize(
    ("of", "kept"),
    [("original", [6, 4]), ("current", [6, 4]), ("eligible", [4, 2])],
)
def test_half_of_what(tokens, of, kept):
    keep = Ascending(keep=0.5, of=of).select(tokens)
    assert keep.sum(dim=1).tolist() == kept
    assert not (keep & ~tokens.eligible).any()


def test_restricting_narrows_it(tokens):
    assert tokens.eligible_count == [8, 4]
    odd = torch.arange(tokens.shape[1]).expand(tokens.shape) % 2 == 1
    assert tokens.restrict(odd).eligible_count == [4, 2]
    assert Ascending(keep=0.5, of="eligible").select(tokens.restrict(odd)).sum(1).tolist() == [2, 1]


def test_counts_and_minimum_stay_what_they_are(tokens):
    assert Ascending(keep=3, of="eligible").select(tokens).sum(dim=1).tolist() == [3, 3]
    few = Ascending(keep=0.01, of="eligible")
    assert few.select(tokens).sum() == 0
    assert replace(few, minimum=1).select(tokens).sum(dim=1).tolist() == [1, 1]


def test_in_a_combinator(tokens):
    total = TopUp(first=IVCSelector(keep=1), then=Ascending(keep=1), keep=0.75, of="eligible")
    assert total.select(tokens).sum(dim=1).tolist() == [6, 3]


def test_it_is_no_share_of_all_tokens():
    assert RandomSelector(keep=0.5, of="eligible").share is None
    with pytest.raises(ValueError, match="one of current, eligible, original"):
        RandomSelector(keep=0.5, of="remaining")
