"""The progressive policy: what its first cut leaves to the second, and what that saves."""

from __future__ import annotations

import pytest

from ivcprune import load_policy
from ivcprune.budget import average_share
from ivcprune.models.registry import family_named
from ivcprune.selectors import SpreadSelector
from prefill_limit import QWEN_7B, prefill_limit
from published_layouts import CUTS, stage_shares, visual_input
from visual_tokens_helpers import tokens_of

COORDINATES = {
    "qwen2_5_vl": lambda middle: [middle.selector.first.members["ivc"]],
    "llava": lambda middle: [middle.selector.members["ivc"]],
    "internvl": lambda middle: [middle.selector.selector.first.members["ivc"]],
    "deepseek_vl2": lambda middle: [middle.members["ivc"], middle.members["lines"]],
}
"""The coordinates within each family's own selection (of one image: `Per` image is left out)."""


def bound_for(family, *overrides, depth=28):
    model = family_named(family)
    policy = load_policy("ivc_prune_progressive", *overrides, family=family)
    return policy.bind(depth, model.default_layer(depth), (), model.rotary_axes)


def thinned_by(stage, tokens):
    keep = stage.selector.select(tokens) & tokens.valid
    left = tokens.survivors(keep, keep.sum(dim=1).tolist(), tokens.slot)
    return left.with_signals(tokens.signals, tokens.needs)


def chosen(stage, tokens):
    """Numbers of the tokens that a stage keeps."""
    return set(tokens.ordinal[stage.selector.select(tokens) & tokens.valid].tolist())


@pytest.mark.parametrize("family", sorted(CUTS))
def test_both_stages_have_the_same_coordinates(family):
    """Budgets are shares of the input, so that those of the survivors are no others."""
    tokens = visual_input(family)
    early, middle = bound_for(family).stages
    left = thinned_by(early, tokens)
    final = chosen(middle, left)
    assert len(final) < sum(left.count) < sum(tokens.count)
    for part in COORDINATES[family](middle.selector):
        alone = set(tokens.ordinal[part.select(tokens) & tokens.valid].tolist())
        assert alone
        assert alone <= final


@pytest.mark.parametrize("family", ["qwen2_5_vl", "llava", "internvl"])
def test_the_first_cut_leaves_60_percent(family):
    shares = stage_shares(bound_for(family), visual_input(family))
    assert shares[0] == pytest.approx(0.6, abs=0.002)


@pytest.mark.parametrize(("default", "expected"), [(16, 2), (22, 2), (35, 4), (8, 1), (1, 0)])
def test_the_first_cut_comes_before_the_familys_layer(default, expected):
    policy = load_policy("ivc_prune_progressive")
    assert policy.bind(64, default, (), 3).layers == {"early": expected, "middle": default}


class TestLimit:
    """Of prefill by FLOPs: Qwen2.5-VL-7B, 1,000 visual and 100 text tokens, docs/performance.md."""

    @pytest.mark.parametrize(
        ("policy", "limit"), [("fastv", 1.75), ("pdrop", 1.56), ("ivc_prune", 1.25)]
    )
    def test_of_the_published_policies(self, policy, limit):
        bound = load_policy(policy).bind(28, 16, (), 3)
        shares = stage_shares(bound, tokens_of((25, 40)))
        assert prefill_limit(bound, shares, 1000, 100, QWEN_7B) == pytest.approx(limit, abs=0.006)

    def test_of_the_progressive_one(self):
        bound = bound_for("qwen2_5_vl")
        shares = stage_shares(bound, tokens_of((25, 40)))
        assert shares == [0.6, 0.5]
        average = average_share(shares, list(bound.layers.values()), 28, bound.cache)
        assert average == 0.5
        # 2 layers of 1,100 tokens, 14 of 700 and 12 of 600 are 19,200 of 30,800: 1.604 without
        # attention, whose square makes it a little more
        limit = prefill_limit(bound, shares, 1000, 100, QWEN_7B)
        assert 1.604 < limit < 1.64


def test_a_quarter_of_the_grid_is_every_second_token_of_every_second_line():
    (keep,) = SpreadSelector(keep=0.25).select(tokens_of((4, 8)))
    assert keep.view(4, 8).nonzero().tolist() == [[y, x] for y in (0, 2) for x in (0, 2, 4, 6)]
