"""Policies: layers, budgets for a wanted average, and refusals before any model runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ivcprune.conf
from ivcprune.api import load_policy
from ivcprune.budget import average_share, share_for_average
from ivcprune.policy import PruningPolicy, Stage
from ivcprune.selectors import FastVSelector, IVCSelector, RandomSelector

POLICIES = sorted(
    path.stem for path in (Path(ivcprune.conf.__file__).parent / "policy").glob("*.yaml")
)


def bind(policy, depth=28, axes=3):
    return policy.bind(depth, 16, (), axes)


def random_at(layer, keep=0.5):
    return Stage(layer, RandomSelector(keep=keep))


class TestLayers:
    @pytest.mark.parametrize(
        ("layer", "depth", "expected"),
        [
            (None, 28, 16),
            (3, 28, 3),
            ("2 of 27", 28, 2),
            ("2 of 27", 27, 2),
            ("2 of 27", 6, 1),
            ("8 of 27", 6, 2),
            ("24 of 27", 6, 5),
            ("24 of 27", 4, 3),
            ("24 of 27", 64, 24),
            ("0 of 27", 6, 0),
            ("1/8 of default", 28, 2),
            ("1/3 of default", 28, 5),
            ("1/17 of default", 28, 0),
        ],
    )
    def test_resolution(self, layer, depth, expected):
        assert random_at(layer).resolve(depth, 16) == expected

    def test_stages_run_in_the_order_of_their_layers(self):
        policy = PruningPolicy({"b": random_at(9), "a": random_at(20), "c": random_at(2)})
        assert bind(policy).layers == {"c": 2, "b": 9, "a": 20}

    @pytest.mark.parametrize("layer", ["two", "2/27", "of 27", "1/0 of default", "default"])
    def test_bad_text(self, layer):
        with pytest.raises(ValueError, match=r"Stage\.layer is .*'LAYER of DEPTH'"):
            random_at(layer)

    def test_outside_the_model(self):
        with pytest.raises(ValueError, match=r"stages\.x\.layer is 40.*28 decoder layers.*0 to 27"):
            bind(PruningPolicy({"x": random_at(40)}))

    def test_shared_by_two_stages(self):
        with pytest.raises(ValueError, match=r"stages\.\w\.layer is 4, the layer of stage"):
            bind(PruningPolicy({"x": random_at(4), "y": random_at(4)}))

    def test_no_previous_layer_before_layer_0(self):
        with pytest.raises(ValueError, match=r"needs attention_previous of a previous layer"):
            bind(PruningPolicy({"x": Stage(0, FastVSelector())}))

    def test_spare_layer_outside(self):
        with pytest.raises(ValueError, match=r"spare_layers holds \[30\]"):
            bind(PruningPolicy({"x": random_at(4)}, spare_layers=(0, 30)))


class TestPositions:
    def test_reassign_needs_from_stage(self):
        with pytest.raises(ValueError, match=r"positions is 'reassign' with cache 'all_layers'"):
            PruningPolicy(positions="reassign")

    def test_reassign_is_refused_for_m_rope(self):
        policy = PruningPolicy({"x": random_at(2)}, cache="from_stage", positions="reassign")
        with pytest.raises(ValueError, match="3 rotary axes"):
            bind(policy)

    def test_unknown_rule(self):
        with pytest.raises(ValueError, match=r"PruningPolicy\.positions is 'drop'.*keep, reassign"):
            PruningPolicy(positions="drop")


class TestAverageTokens:
    """The paper's accounting, and its inverse."""

    @pytest.mark.parametrize(
        ("shares", "layers", "depth", "percent"),
        [
            ([0.5], [2], 28, 53.6),
            ([0.5], [2], 32, 53.1),
            ([0.5], [2], 27, 53.7),
            ([0.25], [2], 32, 29.7),
            ([0.7, 0.35, 0.175], [8, 16, 24], 28, 61.1),
            ([0.7, 0.35, 0.175], [8, 16, 24], 32, 55.6),
            ([0.5, 0.25, 0.125], [8, 16, 24], 32, 46.9),
            ([0.7, 0.35, 0.175], [8, 16, 24], 27, 62.7),
        ],
    )
    def test_published_baselines(self, shares, layers, depth, percent):
        average = average_share(shares, layers, depth, "from_stage")
        assert round(100 * average, 1) == pytest.approx(percent, abs=0.051)

    def test_llava_with_layer_0_full(self):
        assert average_share([0.28], [16], 32, "all_layers") == pytest.approx(0.28)
        assert average_share([0.28], [16], 32, "all_layers", [0]) == pytest.approx(0.3025)

    @given(
        target=st.floats(0.3, 1.0),
        depth=st.integers(8, 40),
        cache=st.sampled_from(["all_layers", "from_stage"]),
    )
    def test_inverse(self, target, depth, cache):
        layers = [1, depth // 2, depth - 2]
        nominal = [0.7, 0.35, 0.175]
        if target <= average_share([0.0] * 3, layers, depth, cache):
            return
        shares = share_for_average(target, nominal, layers, depth, cache)
        assert average_share(shares, layers, depth, cache) == pytest.approx(target, abs=1e-6)

    def test_unreachable(self):
        policy = PruningPolicy({"x": random_at(20)}, cache="from_stage", average_tokens=0.5)
        with pytest.raises(ValueError, match=r"average_tokens=0\.5 cannot be reached.*71\.4%"):
            bind(policy)

    def test_selectors_without_a_budget_are_refused(self):
        policy = PruningPolicy({"x": Stage(4, IVCSelector())}, average_tokens=0.5)
        with pytest.raises(ValueError, match="IVCSelector keeps the union of its rankings"):
            bind(policy)

    @pytest.mark.parametrize("value", [0.0, 1.1, -1])
    def test_outside_its_range(self, value):
        with pytest.raises(ValueError, match=r"average_tokens is .*must be in \(0, 1\]"):
            PruningPolicy(average_tokens=value)

    def test_scales_the_budget(self):
        policy = load_policy("fastv", "average_tokens=0.4")
        (stage,) = bind(policy).stages
        assert stage.selector.share == pytest.approx((0.4 * 28 - 2) / 26)


class TestShippedPolicies:
    @pytest.mark.parametrize("name", POLICIES)
    def test_bind_in_any_depth(self, name):
        policy = load_policy(name)
        for depth in (6, 27, 28, 32, 36, 64):
            bound = policy.bind(depth, max(1, depth // 2), (), 3)
            assert bound.name == name
            assert set(bound.layers) == set(policy.stages)

    def test_overrides(self):
        path = "stages.select.selector.selector"
        policy = load_policy(
            "ivc_prune",
            "stages.select.layer=3",
            f"{path}.keep=0.3",
            f"{path}.first.members.ivc.keep=0.05",
            f"{path}.first.members.seeds.keep=0.02",
            "cache=from_stage",
        )
        top_up = policy.stages["select"].selector.selector
        assert policy.stages["select"].layer == 3
        assert (top_up.keep, policy.cache) == (0.3, "from_stage")
        assert top_up.first.members["ivc"].keep == 0.05
        assert top_up.first.members["seeds"].keep == 0.02

    def test_selector_swap(self):
        policy = load_policy("ivc_prune", "selector@stages.select.selector=random")
        assert isinstance(policy.stages["select"].selector.selector, RandomSelector)

    def test_unknown_name_lists_the_choices(self):
        with pytest.raises(ValueError, match=r"did you mean 'ivc_prune'.*fastv.*pdrop"):
            load_policy("ivc_prun")

    def test_bad_value_names_the_field(self):
        with pytest.raises(ValueError, match=r"TopUp\.keep is 1\.5"):
            load_policy("ivc_prune", "stages.select.selector.selector.keep=1.5")
