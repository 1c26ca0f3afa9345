"""Every shipped policy: it composes for every family, and it costs what its file says."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import pytest
import torch

import ivcprune.conf
from ivcprune import api
from ivcprune.budget import average_share
from ivcprune.models.registry import family_named
from ivcprune.selectors import Per, Recycle, SparseVLMSelector, TopUp, Union
from published_layouts import stage_shares
from visual_tokens_helpers import tokens_of

load_policy = cache(api.load_policy)  # composing takes a third of a second
CONF = files(ivcprune.conf)
POLICIES = sorted(f.name[:-5] for f in (CONF / "policy").iterdir() if f.name.endswith(".yaml"))
OVERLAYS = sorted(
    (policy.name[:-5], family.name)
    for family in (CONF / "overlay").iterdir()
    for policy in family.iterdir()
)
LLAVA, QWEN = ("llava", 32, 16, (0,)), ("qwen2_5_vl", 28, 16, ())
SPARSEVLM = "stages.{}.selector.selector.selector.keep={}"
THREE = ("early", "middle", "late")


@pytest.mark.parametrize(
    ("name", "family"), sorted({*OVERLAYS, *((name, "llava") for name in POLICIES)})
)
def test_composes_for_a_family(name, family):
    policy = load_policy(name, family=family)
    assert policy.name == name
    axes = family_named(family).rotary_axes
    for depth in (27, 28, 32, 64):
        assert len(policy.bind(depth, depth // 2, (), axes).stages) == len(policy.stages)


@pytest.mark.parametrize(
    ("folder", "policy"), [("printed", "ivc_prune_paper"), ("published", "ivc_prune")]
)
@pytest.mark.parametrize("family", ["qwen2_vl", "internvl"])
def test_a_family_s_selection_can_be_chosen_by_name(folder, policy, family):
    chosen = load_policy("random", f"selector@stages.select.selector={folder}/{family}")
    own = load_policy(policy, family=family)
    assert chosen.stages["select"].selector == own.stages["select"].selector


def average_tokens(name, overrides, model):
    """Arithmetic of the shares in a model's layers, on LLaVA's 24 x 24 tokens, in percent."""
    family, depth, layer, spare = model
    bound = load_policy(name, *overrides, family=family).bind(depth, layer, spare, 1)
    left = stage_shares(bound, tokens_of((24, 24)))
    layers = [stage.layer for stage in bound.stages]
    return 100 * average_share(left, layers, depth, bound.cache, bound.spare_layers)


ENTRY_OF_2 = tuple(f"stages.{n}.layer={at} of 27" for n, at in zip(THREE, (2, 6, 15), strict=True))


def lists(*keeps):
    return tuple(SPARSEVLM.format(n, keep) for n, keep in zip(THREE, keeps, strict=True))


LIST_128, LIST_64 = lists(0.526, 0.191, 0.0625), lists(0.1146, 0.0521, 0.0295)
NO_MERGE = ("stages.early.selector.selector.merge=false",)


@pytest.mark.parametrize(
    ("name", "overrides", "model", "percent"),
    [
        ("vscan", (), QWEN, 50.1),
        ("vscan", (), LLAVA, 48.3),  # 333 and int(.67 * 333) of 576, not 345 and 231
        ("feather", (), LLAVA, 36.1),  # 218, then int(.09 * 218) = 19
        ("divprune", (), LLAVA, 9.7),
        ("fastv", (), QWEN, 53.6),
        ("fastv", (), LLAVA, 29.7),
        ("pdrop", (), LLAVA, 46.9),
        ("ivc_prune", (), QWEN, 50.0),
        ("ivc_prune_progressive", (), QWEN, 50.0),
        ("ivc_prune_progressive", ("average_tokens=0.3",), QWEN, 30.0),
        ("ivc_prune_192", (), LLAVA, 33.4),
        ("ivc_prune_128", (), LLAVA, 22.3),
        ("ivc_prune_64", (), LLAVA, 11.0),
        ("seeds_only", (), QWEN, 50.0),
        ("ivc_prune_attention", (), QWEN, 50.0),
        ("sparsevlm", (), LLAVA, 206.5 / 5.76),
        ("sparsevlm", LIST_128, LLAVA, 145.4 / 5.76),
        ("sparsevlm", LIST_64, LLAVA, 82.2 / 5.76),
        ("sparsevlm", ENTRY_OF_2, LLAVA, 192.0 / 5.76),
        ("sparsevlm", (*LIST_128, *ENTRY_OF_2), LLAVA, 128 / 5.76),
        ("sparsevlm", (*LIST_64, *ENTRY_OF_2), LLAVA, 64.8 / 5.76),
        ("sparsevlm", NO_MERGE, LLAVA, 35.2),
        ("fastv", ("average_tokens=0.52",), QWEN, 52.0),
        ("pdrop", ("average_tokens=0.52",), QWEN, 52.0),
        ("sparsevlm", ("average_tokens=0.49", *NO_MERGE), QWEN, 49.0),
        ("sparsevlm", ("average_tokens=0.49",), QWEN, 49.8),
        ("feather", ("average_tokens=0.5",), LLAVA, 50.0),
        ("divprune", ("average_tokens=0.5",), LLAVA, 50.0),
        ("sparsevlm_ivc", ("average_tokens=0.6", *NO_MERGE), QWEN, 60.0),
        ("ivc_prune_192", ("average_tokens=0.3333",), LLAVA, 33.4),
        ("ivc_prune", ("average_tokens=0.5",), LLAVA, 50.0),
    ],
)
def test_average_tokens(name, overrides, model, percent):
    assert average_tokens(name, overrides, model) == pytest.approx(percent, abs=0.11)


class TestTables:
    """Paper tables as overrides."""

    IVC = "stages.select.selector.selector.first.members.ivc.keep"

    @pytest.mark.parametrize("k_c", [0.05, 0.1, 0.2, 0.025])
    def test_17_the_total_stays(self, k_c):
        assert average_tokens("ivc_prune", (f"{self.IVC}={k_c}",), QWEN) == pytest.approx(50.0)

    def test_16_the_coordinates_stay_a_third(self):
        for name in ("ivc_prune_192", "ivc_prune_128", "ivc_prune_64"):
            top_up = load_policy(name, family="llava").stages["select"].selector.selector
            assert 0.3 < 2 * top_up.first.members["ivc"].keep / top_up.keep < 0.4

    def test_12_merging_and_positions_are_independent(self):
        for merge in ("true", "false"):
            for positions in ("keep", "reassign"):
                policy = load_policy(
                    "sparsevlm",
                    f"stages.early.selector.selector.merge={merge}",
                    f"positions={positions}",
                    family="llava",
                )
                assert policy.positions == positions
                for stage in policy.stages.values():
                    assert isinstance(stage.selector.selector, Recycle)
                    assert stage.selector.selector.merge is (merge == "true")

    @pytest.mark.parametrize("name", ["divprune", "pdrop", "sparsevlm", "vscan"])
    def test_positions_are_the_authors_where_they_are_defined(self, name):
        assert load_policy(name, family="llava").positions == "reassign"
        assert load_policy(name, family="qwen2_5_vl").positions == "keep"

    @pytest.mark.parametrize("name", [n for n in POLICIES if n.startswith("pattern_")])
    def test_6_patterns_join_the_annotated_foreground_at_the_input(self, name):
        (stage,) = load_policy(name).stages.values()
        assert stage.layer == 0
        assert "foreground" in stage.selector.members
        tokens = tokens_of((24, 24))
        assert not (tokens.annotated & ~stage.selector.select(tokens)).any()

    @pytest.mark.parametrize(("percent", "k_c"), [(5, 0.05), (10, 0.1), (20, 0.2)])
    def test_6_coordinates_are_a_share_of_each_axis(self, percent, k_c):
        (stage,) = load_policy(f"pattern_ivc_{percent}").stages.values()
        assert stage.selector.members["pattern"].selector.keep == k_c


class TestComposition:
    """Any method with the coordinates, by configuration alone."""

    @pytest.mark.parametrize(
        ("policy", "stage", "method"),
        [
            ("fastv", "select", "fastv"),
            ("window_fastv", "select", "window_fastv"),
            ("divprune", "select", "divprune"),
            ("feather", "early", "feather"),
            ("feather", "late", "feather_late"),
            ("vscan", "late", "vscan_late"),
        ],
    )
    def test_a_union_in_the_place_of_a_method(self, policy, stage, method):
        path = f"selector@stages.{stage}.selector"
        plain = load_policy(policy).stages[stage].selector
        union = load_policy(policy, f"{path}=with_ivc", f"{path}.members.method={method}")
        selector = union.stages[stage].selector
        assert isinstance(selector, Union)
        assert selector.members["method"] == plain
        assert set(selector.members) == {"method", "ivc"}

    def test_inside_the_merging_of_vscan(self):
        path = "selector@stages.tower.selector.selector"
        policy = load_policy("vscan", f"{path}=with_ivc", f"{path}.members.method=vscan_tower")
        tokens = tokens_of((8, 9))
        merging = policy.stages["tower"].selector
        chosen = merging.select(tokens)
        assert chosen.merged is not None
        assert torch.equal(chosen.keep, merging.selector.select(tokens))

    def test_sparsevlm(self):
        policy = load_policy("sparsevlm_ivc", "average_tokens=0.6")
        bound = policy.bind(28, 16, (), 3)
        for stage in bound.stages:
            assert isinstance(stage.selector, Per)
            assert isinstance(stage.selector.selector.selector, TopUp)
            assert isinstance(stage.selector.selector.ranking, SparseVLMSelector)

    def test_a_share_of_what_is_left_is_scaled_as_one_of_the_input(self):
        tower, late = load_policy("vscan", "average_tokens=0.4").bind(28, 16, (), 3).stages
        assert late.selector.share / tower.selector.share == pytest.approx(0.67, abs=1e-6)
        assert average_tokens("vscan", ("average_tokens=0.4",), QWEN) == pytest.approx(40, abs=0.2)

    def test_a_count_after_a_share_is_refused(self):
        path = "stages.late.selector.selector.keep"
        with pytest.raises(ValueError, match="cannot scale stages late"):
            load_policy("vscan", f"{path}=40", "average_tokens=0.4").bind(28, 16, (), 3)
