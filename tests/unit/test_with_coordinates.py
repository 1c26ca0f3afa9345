"""The coordinates beside any method: at its own budget, under its own name, or refused."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import pytest
import torch

import ivcprune.conf
from ivcprune import PruningPolicy, Stage, api, prune
from ivcprune.configuration.build import compose
from ivcprune.configuration.swaps import named_by_swaps
from ivcprune.runs.key import run_key
from ivcprune.selectors import (
    GridSelector,
    IVCSelector,
    Per,
    PruMergeSelector,
    RandomSelector,
    Ranked,
    TopUp,
    Union,
    VisionZipSelector,
    WithCoordinates,
    decision,
    with_coordinates,
)
from ivcprune.testing import RecordedSample, check_selector, recorded_tokens
from ivcprune.testing.rules import SAMPLES
from ivcprune.testing.tokens import thinned
from visual_tokens_helpers import tokens_of

load_policy = cache(api.load_policy)
FOLDER = files(ivcprune.conf) / "policy"
POLICIES = sorted(f.name[:-5] for f in FOLDER.iterdir() if f.name.endswith(".yaml"))
CONTROLS = ("foreground_border", "foreground_first_token", "foreground_random", "seeds_only")
"""Of the coordinates: as many other tokens, or another second stage behind them."""
PREFIX = ("ivc_", "fastv_ivc", "pdrop_ivc", "sparsevlm_ivc", "random_ivc", "pattern_ivc_")
HAVE_THEM = sorted(n for n in POLICIES if n.startswith((*PREFIX, "vanilla_no_", *CONTROLS)))
NO_BUDGET = ["pattern_corners", "pattern_none", "pattern_random"]
ADDABLE = sorted(set(POLICIES) - {"none", *HAVE_THEM, *NO_BUDGET})


@dataclass(frozen=True)
class InOrder(Ranked):
    """The first tokens of a row."""

    def score(self, tokens):
        return -torch.arange(tokens.shape[1]).float().expand(tokens.shape)


def stage_selectors(name, *overrides, ivc=True):
    policy = load_policy(name, *overrides, family="qwen2_5_vl", ivc=ivc)
    return {s.name: s.selector for s in policy.bind(28, 16, (), 3).stages}


def kept(selector, tokens):
    return decision(selector, tokens).keep & tokens.valid


class TestWhatStays:
    def test_ten_of_twenty(self):
        """Of 4 x 5 tokens 2 by V and 2 by U, and the first 6 others."""
        tokens = tokens_of((4, 5))
        coordinates = IVCSelector(keep=0.1).select(tokens)
        n = int(coordinates.sum())
        mask = kept(WithCoordinates(InOrder(keep=0.5)), tokens)
        others = (~coordinates[0]).nonzero()[: 10 - n, 0].tolist()
        expected = sorted([*coordinates[0].nonzero()[:, 0].tolist(), *others])
        assert n >= 3
        assert mask[0].nonzero()[:, 0].tolist() == expected

    @pytest.mark.parametrize(("keep", "most", "n"), [(8, 0.5, 4), (8, 0.25, 2), (2, 0.5, 1)])
    def test_coordinates_are_a_part_of_a_small_budget(self, keep, most, n):
        """Of 10 x 10 tokens that would be 20: at most half of what stays, V first."""
        tokens = tokens_of((10, 10))
        ranking = IVCSelector().rankings(tokens)[:, 0]
        places = [row.argsort(descending=True, stable=True).tolist() for row in ranking]
        turns = [x for pair in zip(*places, strict=True) for x in pair]
        mask = kept(WithCoordinates(InOrder(keep=keep), most=most), tokens)[0]
        chosen = set(mask.nonzero()[:, 0].tolist())
        assert len(chosen) == keep
        assert set(turns[:n]) <= chosen
        rest = [i for i in range(100) if i not in turns[:n]][: keep - len(set(turns[:n]))]
        assert chosen == {*turns[:n], *rest}

    @pytest.mark.parametrize("grids", [((12, 13),), ((8, 9), (10, 6))])
    @pytest.mark.parametrize(
        ("plain", "united"), [("fastv", "fastv_ivc"), ("random", "random_ivc")]
    )
    def test_at_half_it_is_the_union_of_table_4_brought_to_that_budget(self, plain, united, grids):
        tokens = tokens_of(*grids)
        ours = stage_selectors(plain, "average_tokens=0.5")["select"]
        theirs = stage_selectors(united, "average_tokens=0.5", ivc=False)["select"]
        assert torch.equal(kept(ours, tokens), kept(theirs, tokens))

    def test_each_image_has_its_own(self):
        tokens = tokens_of((10, 10), (10, 10)).regroup("sample")
        mask = kept(WithCoordinates(InOrder(keep=0.5)), tokens)[0]
        own = IVCSelector(keep=0.1).select(tokens_of((10, 10), (10, 10)))
        assert mask[:100].sum() + mask[100:].sum() == 100
        assert (mask.view(2, 100) | ~own).all()

    def test_later_coordinates_are_among_earlier_ones(self):
        tokens = tokens_of((12, 12))
        early = kept(WithCoordinates(RandomSelector(keep=0.6)), tokens)
        left = thinned(tokens, ~early)
        late = WithCoordinates(InOrder(keep=0.2))
        again = left.index[0][kept(late, left)[0]]
        direct = tokens.index[0][WithCoordinates(InOrder(keep=0.2))._coordinates(
            tokens, tokens.valid, torch.tensor([29]))[1][0]]  # fmt: skip
        assert set(direct.tolist()) <= set(again.tolist())
        assert len(again) == 29

    def test_coordinates_are_not_merged_into_others(self):
        tokens = tokens_of((8, 8))
        selector = WithCoordinates(VisionZipSelector(keep=0.25))
        _, chosen = selector._coordinates(tokens, tokens.valid, torch.tensor([16]))
        found = selector.select(tokens)
        assert int(found.keep.sum()) == 16
        assert torch.equal(found.merged[chosen], tokens.hidden()[chosen])
        assert not torch.equal(found.merged, tokens.hidden())

    def test_a_set_and_a_ranking_share_the_room(self):
        union = Union({"grid": GridSelector(stride=3), "ranking": InOrder(keep=0.3)})
        tokens = tokens_of((9, 9))
        assert int(kept(WithCoordinates(union), tokens).sum()) == int(kept(union, tokens).sum())


class TestTheSameNumber:
    BATCHES = (
        SAMPLES,
        [RecordedSample(((12, 15),), 4, 7, 5)],
        [RecordedSample(((1, 1),), 1, 1, 6), RecordedSample(((2, 3), (9, 7)), 2, 2, 7)],
    )

    @pytest.mark.parametrize("name", ADDABLE)
    def test_of_every_policy_and_row(self, name):
        plain, ours = stage_selectors(name, ivc=False), stage_selectors(name)
        for samples in self.BATCHES:
            whole = recorded_tokens(samples)
            for tokens in (whole, thinned(whole, whole.ordinal % 3 == 0)):
                for stage in plain:
                    before, after = kept(plain[stage], tokens), kept(ours[stage], tokens)
                    for sample in range(len(samples)):
                        rows = tokens.sample == sample
                        assert before[rows].sum() == after[rows].sum(), (stage, sample)

    @pytest.mark.parametrize("name", ["fastv", "prumerge", "prumerge_plus", "feather", "dycoke"])
    def test_the_coordinates_are_there(self, name):
        tokens = recorded_tokens([RecordedSample(((12, 15),), 4, 7, 5)])
        for stage, selector in stage_selectors(name).items():
            n = int(kept(selector, tokens).sum())
            each = min(18, n // 4)
            own = IVCSelector(keep=each).select(tokens) if each else torch.zeros(1, 180).bool()
            assert (kept(selector, tokens) | ~own).all(), stage

    @pytest.mark.parametrize("share", [0.15, 0.33, 0.75])
    @pytest.mark.parametrize("name", ["visionzip", "sparsevlm", "vscan", "dart", "foreground_only"])
    def test_brought_to_an_average(self, name, share):
        setting = f"average_tokens={max(share, 0.2)}"
        tokens = recorded_tokens([RecordedSample(((14, 15),), 4, 7, 5)])
        plain = stage_selectors(name, setting, ivc=False)
        for stage, selector in stage_selectors(name, setting).items():
            assert kept(selector, tokens).sum() == kept(plain[stage], tokens).sum()

    def test_measured_on_a_model(self):
        """Of policies that choose in every way there is: caches hold equally many tokens."""
        model, inputs = tiny_inputs()
        for name in ("fastv", "pdrop", "sparsevlm", "vscan", "cdpruner", "prumerge_plus", "holov"):
            averages = []
            for ivc in (False, True):
                with prune(model, load_policy(name, family="qwen2_5_vl", ivc=ivc)) as run:
                    model(**inputs)
                averages.append(run.stats.average_tokens_per_sequence)
            assert averages[0] == averages[1], name
            assert averages[0][0] < 0.9, name


@cache
def tiny_inputs():
    from PIL import Image

    from ivcprune.testing import tiny_model

    model, processor = tiny_model("qwen2_5_vl", depth=6)
    images = [Image.effect_noise(size, 80).convert("RGB") for size in ((224, 196), (140, 252))]
    content = [{"type": "image"}, {"type": "text", "text": "where is the red square"}]
    prompt = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
    )
    given = processor(text=[prompt] * 2, images=images, return_tensors="pt", padding=True)
    return model, given


@pytest.mark.parametrize(
    "selector",
    [
        RandomSelector(keep=0.3),
        VisionZipSelector(keep=0.5),
        PruMergeSelector(),
        TopUp(first=GridSelector(), then=RandomSelector(), keep=0.6),
    ],
    ids=lambda selector: type(selector).__name__,
)
def test_the_contract(selector):
    check_selector(with_coordinates(Per("image", selector)))


class TestRefusals:
    @pytest.mark.parametrize("name", HAVE_THEM)
    def test_policies_that_have_them(self, name):
        with pytest.raises(ValueError, match="decides about the coordinates itself already"):
            load_policy(name, ivc=True)

    @pytest.mark.parametrize("name", NO_BUDGET)
    def test_sets_without_a_budget(self, name):
        with pytest.raises(ValueError, match=f"of '{name}.*has no budget"):
            load_policy(name, ivc=True)

    def test_vanilla(self):
        with pytest.raises(ValueError, match=r"'none.*prunes nothing"):
            load_policy("none", ivc=True)

    def test_positions_numbered_anew(self):
        with pytest.raises(ValueError, match="positions is 'reassign' with ivc"):
            api.load_policy("fastv", "positions=reassign", family="llava", ivc=True)

    def test_no_flag(self):
        with pytest.raises(ValueError, match=r"ivc is 0\.2: it must be true or false"):
            compose(["policy=fastv", "ivc=0.2"])

    def test_of_a_policy_that_is_made_by_hand(self):
        stages = {"select": Stage(2, IVCSelector())}
        with pytest.raises(ValueError, match=r"stages\.select of 'custom'"):
            PruningPolicy(stages, ivc=True)


class TestConfiguration:
    def test_it_is_a_method_of_its_own(self):
        plain, ours = compose(["policy=fastv"]), compose(["policy=fastv", "ivc=true"])
        assert ours.policy.name == "fastv + IVC"
        assert run_key(ours, "weights").startswith("fastv-+-IVC-tiny-scenes-")
        assert run_key(plain, "weights") != run_key(ours, "weights")
        assert load_policy("fastv", ivc=True).name == "fastv + IVC"

    def test_the_name_of_a_swapped_selector_goes_before_it(self):
        swap = "selector@policy.stages.select.selector=foreground"
        cfg = compose(["policy=fastv", swap, "ivc=true"])
        assert cfg.policy.name == "foreground in fastv + IVC"
        again = named_by_swaps(cfg.policy.name, cfg.policy.stages, [swap])
        assert again == cfg.policy.name

    def test_a_name_that_is_given_is_kept(self):
        assert compose(["policy=fastv", "policy.name=mine", "ivc=true"]).policy.name == "mine"

    def test_positions_stay_where_the_family_numbers_them_anew(self):
        assert load_policy("pdrop", family="llava").positions == "reassign"
        assert load_policy("pdrop", family="llava", ivc=True).positions == "keep"

    def test_a_policy_of_code(self):
        policy = PruningPolicy({"select": Stage(2, RandomSelector(keep=0.4))}, ivc=True)
        (stage,) = policy.bind(28, 16, (), 3).stages
        assert stage.selector == WithCoordinates(RandomSelector(keep=0.4))
