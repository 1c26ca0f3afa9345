"""Selectors against hand-computed and brute-force results."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ivcprune.api import load_policy
from ivcprune.selectors import (
    Among,
    BorderSelector,
    FastVSelector,
    FirstTokenSelector,
    IVCSelector,
    MatchCount,
    PDropSelector,
    Per,
    RandomSelector,
    RefineSelector,
    SeedSelector,
    TopUp,
    Union,
    WindowFastVSelector,
    Without,
    coordinate_scores,
    signals_of,
    similarity_received,
    top,
)
from ivcprune.selectors.coordinates import per_axis, published, section_aware
from ivcprune.testing import RecordedSample, recorded_tokens
from ivcprune.tokens import Signal
from visual_tokens_helpers import tokens_of


def kept(selector, tokens, row=0):
    return (selector.select(tokens) & tokens.valid)[row].nonzero()[:, 0].tolist()


class TestTop:
    def test_ties_go_to_the_lower_index(self):
        score = torch.tensor([[1.0, 2.0, 2.0, 2.0, 0.0]])
        everything = torch.ones(1, 5, dtype=torch.bool)
        assert top(score, everything, [2])[0].tolist() == [False, True, True, False, False]

    def test_takes_candidates_only_and_all_of_them_if_too_few(self):
        score = torch.tensor([[9.0, 2.0, 3.0], [1.0, 2.0, 3.0]])
        candidates = torch.tensor([[False, True, True], [False, False, True]])
        assert top(score, candidates, [1, 3]).tolist() == [
            [False, False, True],
            [False, False, True],
        ]

    @given(st.lists(st.floats(-5, 5, width=16), min_size=1, max_size=40), st.integers(0, 45))
    def test_equals_sorting(self, scores, k):
        score = torch.tensor([scores])
        expected = sorted(range(len(scores)), key=lambda i: (-scores[i], i))[:k]
        chosen = top(score, torch.ones_like(score, dtype=torch.bool), [k])
        assert chosen[0].nonzero()[:, 0].tolist() == sorted(expected)


class TestBudgets:
    @pytest.mark.parametrize(
        ("keep", "rounding", "expected"),
        [
            (0.5, "round", 12),  # 12.5: half to even
            (0.5, "floor", 12),
            (0.5, "ceil", 13),
            (0.01, "round", 0),
            (0.01, "ceil", 1),
            (0.28, "ceil", 7),  # 0.28 * 25 is 7.000000000000001 in floating point
            (7, "round", 7),
            (99, "round", 25),
            (1.0, "round", 25),
        ],
    )
    def test_ratio_and_count(self, keep, rounding, expected):
        selector = RandomSelector(keep=keep, rounding=rounding)
        assert selector.select(tokens_of((5, 5))).sum() == expected

    def test_of_original_or_of_current(self):
        tokens = tokens_of((4, 5))
        half = torch.arange(20)[None] % 2 == 0
        later = tokens.survivors(half, [10], tokens.slot)
        assert RandomSelector(keep=0.2).select(later).sum() == 4
        assert RandomSelector(keep=0.2, of="current").select(later).sum() == 2

    @pytest.mark.parametrize("keep", [0, -1, 0.0, 1.5, -0.1, math.nan])
    def test_refuses_nonsense_by_name(self, keep):
        with pytest.raises(ValueError, match=r"RandomSelector\.keep is"):
            RandomSelector(keep=keep)

    @pytest.mark.parametrize("keep", [True, "0.5", None])
    def test_refuses_other_types(self, keep):
        with pytest.raises(TypeError, match="ratio \\(float\\) or a count \\(int\\)"):
            RandomSelector(keep=keep)


class TestCoordinates:
    def test_scores_are_the_sums_of_the_paper(self):
        inv_freq = torch.tensor([1.0, 0.1])
        positions = torch.tensor([[[0, 1, 5]]])
        real, imaginary = coordinate_scores(positions, inv_freq)
        assert real[0].tolist() == pytest.approx(
            [math.cos(m) + math.cos(0.1 * m) for m in (0, 1, 5)], abs=1e-6
        )
        assert imaginary[0].tolist() == pytest.approx(
            [math.sin(m) + math.sin(0.1 * m) for m in (0, 1, 5)], abs=1e-6
        )

    def test_symmetric_positions_tie_exactly(self):
        tokens = tokens_of((13, 13), theta=1e6)
        real, imaginary = coordinate_scores(tokens.positions, tokens.inv_freq)
        for score in (real.view(13, 13), imaginary.view(13, 13)):
            assert torch.equal(score, score.T)

    def test_keeps_the_union_of_two_rankings(self):
        tokens = tokens_of((10, 10))
        real, imaginary = coordinate_scores(tokens.positions, tokens.inv_freq)
        everything = torch.ones_like(tokens.valid)
        expected = top(real, everything, [10]) | top(imaginary, everything, [10])
        assert torch.equal(IVCSelector(keep=0.1).select(tokens), expected)
        assert 10 <= expected.sum() <= 20

    def test_section_aware_uses_the_rotations_that_are_applied(self):
        axis = torch.tensor([0, 1, 1, 2])
        tokens = replace(tokens_of((3, 4)), frequency_axis=axis)
        real, imaginary = section_aware(tokens)
        angles = [tokens.positions[a] * f for a, f in zip(axis, tokens.inv_freq, strict=True)]
        assert torch.allclose(real, sum(a.cos() for a in angles))
        assert torch.allclose(imaginary, sum(a.sin() for a in angles))

    def test_all_scorers_agree_on_one_axis(self):
        tokens = tokens_of((1, 40))
        one_axis = replace(tokens, positions=tokens.positions[-1:])
        for scorer in (section_aware, per_axis):
            assert torch.allclose(scorer(one_axis), published(one_axis))

    @pytest.mark.parametrize("name", ["published", "section_aware", "per_axis"])
    def test_scorers_share_one_budget(self, name):
        chosen = IVCSelector(keep=0.1, coordinates=name).select(tokens_of((10, 10)))
        assert 10 <= chosen.sum() <= 20

    def test_a_scorer_of_ones_own(self):
        first = IVCSelector(keep=4, coordinates=lambda tokens: -tokens.index[None].float())
        assert kept(first, tokens_of((5, 5))) == list(range(8))

    def test_unknown_scorer(self):
        with pytest.raises(ValueError, match=r"IVCSelector\.coordinates is 'polar'.*per_axis"):
            IVCSelector(coordinates="polar")

    def test_ignores_the_content(self):
        one, other = tokens_of((6, 7), seed=1), tokens_of((6, 7), seed=2)
        assert torch.equal(IVCSelector().select(one), IVCSelector().select(other))


class TestForeground:
    def test_similarity_by_hand(self):
        """Two queries, two keys, one head of two dimensions."""
        queries = torch.tensor([[[[2.0, 0.0], [0.0, 0.0]]]])
        keys = torch.tensor([[[[1.0, 0.0], [0.0, 1.0]]]])
        both = torch.ones(1, 2, dtype=torch.bool)
        received = similarity_received(queries, both, keys, both)
        sharp = math.exp(2 / math.sqrt(2)) / (math.exp(2 / math.sqrt(2)) + 1)
        assert received[0].tolist() == pytest.approx([sharp + 0.5, (1 - sharp) + 0.5])

    def test_heads_mean_or_flattened(self):
        generator = torch.Generator().manual_seed(0)
        queries = torch.randn(1, 2, 3, 4, generator=generator)
        keys = torch.randn(1, 2, 5, 4, generator=generator)
        masks = torch.ones(1, 3, dtype=torch.bool), torch.ones(1, 5, dtype=torch.bool)
        mean = similarity_received(queries, masks[0], keys, masks[1], "mean")
        per_head = [(queries[0, h] @ keys[0, h].T / 2).softmax(-1).sum(0) for h in range(2)]
        assert torch.allclose(mean[0], sum(per_head) / 2)
        flat = similarity_received(queries, masks[0], keys, masks[1], "flatten")
        joined = sum(queries[0, h] @ keys[0, h].T for h in range(2)) / math.sqrt(8)
        assert torch.allclose(flat[0], joined.softmax(-1).sum(0))

    def test_chunks_change_nothing(self, monkeypatch):
        generator = torch.Generator().manual_seed(0)
        queries = torch.randn(2, 2, 7, 4, generator=generator)
        keys = torch.randn(2, 2, 9, 4, generator=generator)
        query_mask = torch.arange(7) < torch.tensor([[7], [4]])
        key_mask = torch.arange(9) < torch.tensor([[5], [9]])
        whole = similarity_received(queries, query_mask, keys, key_mask)
        monkeypatch.setattr("ivcprune.tokens.chunks.LARGEST", 40)
        assert torch.allclose(similarity_received(queries, query_mask, keys, key_mask), whole)

    def test_chunks_of_rows_change_nothing(self, monkeypatch):
        """Two samples of three images: by default all at once, then row by row."""
        samples = [RecordedSample(((4, 5), (3, 3), (2, 2)), 3, 6, seed) for seed in (1, 2)]
        refine = RefineSelector(softmax="sequence", seeds=SeedSelector(keep=2, softmax="sequence"))
        whole = refine.score(recorded_tokens(samples))
        monkeypatch.setattr("ivcprune.tokens.chunks.LARGEST", 1)
        assert torch.allclose(refine.score(recorded_tokens(samples)), whole)

    def test_refinement_weighs_text_and_seeds_alike(self):
        tokens = tokens_of((5, 8))
        seeds = SeedSelector(keep=3)
        score = RefineSelector(seeds=seeds).score(tokens)
        text, _ = tokens.text_values()
        values = tokens.values()
        queries = torch.cat([text, values[:, :, seeds.select(tokens)[0]]], dim=2)
        everything = torch.ones(1, queries.shape[2], dtype=torch.bool)
        expected = similarity_received(queries, everything, values, tokens.valid)
        assert torch.allclose(score, expected / queries.shape[2], atol=1e-6)

    def test_without_text_after_the_image_all_text_asks(self):
        tokens = tokens_of((4, 4), after=0, before=5)
        everywhere = SeedSelector(keep=4, text="all").score(tokens)
        assert torch.equal(SeedSelector(keep=4).score(tokens), everywhere)

    @pytest.mark.parametrize("after", [0, 1, 2, 3])
    def test_never_nan_with_little_text(self, after):
        tokens = tokens_of((3, 3), before=0, after=after)
        score = RefineSelector().score(tokens)
        assert score.isfinite().all()

    def test_without_any_text_the_choice_is_spread_evenly(self):
        tokens = tokens_of((1, 64), before=0, after=0)
        chosen = kept(SeedSelector(keep=16), tokens)
        gaps = [b - a for a, b in pairwise(chosen)]
        assert len(chosen) == 16
        assert max(gaps) <= 4

    def test_softmax_over_the_sequence_is_another_ranking_base(self):
        tokens = tokens_of((4, 6))
        score = SeedSelector(softmax="sequence").score(tokens)
        text, mask = tokens.text_values()
        values, valid = tokens.sequence_values()
        everything = similarity_received(text, mask, values, valid)
        assert torch.allclose(score[0], everything[0, 3:27] / mask.sum())


class TestAlgorithm1:
    """`ivc_prune_paper` against Algorithm 1 worked out in plain Python on a 2 x 3 grid."""

    def test_by_hand(self):
        values = torch.tensor(
            # text before, six image tokens, text after; one head of two dimensions
            [[[1, 0], [3, 0], [0, 1], [0, 0], [2, 1], [0, 3], [-1, 0], [1, 1], [0, 1]]],
            dtype=torch.float32,
        )
        tokens = tokens_of((2, 3), before=1, after=2, values=values)
        image, text = values[0, 1:7].tolist(), [values[0, i].tolist() for i in (0, 7, 8)]

        def softmax_row(query):
            logits = [(query[0] * k[0] + query[1] * k[1]) / math.sqrt(2) for k in image]
            total = sum(map(math.exp, logits))
            return [math.exp(x) / total for x in logits]

        def mean(rows):
            return [sum(column) / len(rows) for column in zip(*rows, strict=True)]

        def best(scores, k):
            return set(sorted(range(6), key=lambda i: (-round(scores[i], 6), i))[:k])

        seed = best(mean([softmax_row(q) for q in text]), math.ceil(0.01 * 6))
        queries = text + [image[i] for i in sorted(seed)]
        foreground = best(mean([softmax_row(q) for q in queries]), round(0.4 * 6))
        frequencies = [1e4 ** -(2 * k / 8) for k in range(4)]
        places = [(1, 1 + r, 1 + c) for r in range(2) for c in range(3)]
        real = [sum(math.cos(m * f) for m in place for f in frequencies) for place in places]
        imaginary = [sum(math.sin(m * f) for m in place for f in frequencies) for place in places]
        k_c = round(0.1 * 6)
        expected = foreground | best(real, k_c) | best(imaginary, k_c)

        selector = load_policy("ivc_prune_paper").stages["select"].selector
        assert kept(selector, tokens) == sorted(expected)
        assert len(seed) == 1
        assert k_c == 1

    def test_at_most_k_c_twice_and_k_f(self):
        selector = load_policy("ivc_prune_paper").stages["select"].selector
        count = selector.select(tokens_of((20, 20))).sum()
        assert 0.5 * 400 <= count <= 0.6 * 400


class TestCombinators:
    def test_top_up_fills_to_the_budget_and_never_drops_the_first(self):
        tokens = tokens_of((6, 6))
        first = FirstTokenSelector(keep=10)
        filled = TopUp(first=first, then=RandomSelector(), keep=18).select(tokens)
        assert filled.sum() == 18
        assert filled[0, :10].all()
        assert TopUp(first=first, then=RandomSelector(), keep=4).select(tokens).sum() == 10

    def test_without_is_the_complement(self):
        tokens = tokens_of((5, 5), (2, 3))
        ivc = IVCSelector()
        assert torch.equal(Without(selector=ivc).select(tokens) | ivc.select(tokens), tokens.valid)
        assert not (Without(selector=ivc).select(tokens) & ivc.select(tokens)).any()

    def test_among_limits_a_ranking(self):
        tokens = tokens_of((5, 5))
        ivc = IVCSelector()
        chosen = Among(candidates=Without(selector=ivc), selector=RandomSelector(keep=0.5))
        assert chosen.select(tokens).sum() == 12
        assert not (chosen.select(tokens) & ivc.select(tokens)).any()

    def test_match_count(self):
        tokens = tokens_of((9, 11), (3, 4))
        ivc = IVCSelector()
        matched = MatchCount(selector=RandomSelector(), like=ivc).select(tokens)
        assert matched.sum(1).tolist() == ivc.select(tokens).sum(1).tolist()

    def test_match_count_heeds_candidates_unless_it_may_go_anywhere(self):
        """Coordinates do not heed them, so that their control need not either."""
        tokens = tokens_of((9, 11))
        ivc, few = IVCSelector(), FirstTokenSelector(keep=3)
        kept = [
            Among(few, MatchCount(RandomSelector(), ivc, anywhere=anywhere)).select(tokens).sum()
            for anywhere in (False, True)
        ]
        assert kept == [3, Among(few, ivc).select(tokens).sum()]

    def test_per_sample_shares_one_budget(self):
        tokens = tokens_of((4, 5), (2, 2))
        selector = FirstTokenSelector(keep=0.5)
        assert selector.select(tokens).sum(1).tolist() == [10, 2]
        shared = Per(scope="sample", selector=selector).select(tokens) & tokens.valid
        assert shared.sum(1).tolist() == [12, 0]

    def test_per_line(self):
        tokens = tokens_of((4, 5), (2, 3))
        chosen = Per(scope="line", selector=FirstTokenSelector(keep=1)).select(tokens)
        columns = tokens.cell[..., 1][chosen & tokens.valid]
        assert columns.tolist() == [0] * 6

    def test_per_row_within_per_sample(self):
        tokens = tokens_of((4, 5), (2, 2))
        inner = Per(scope="row", selector=FirstTokenSelector(keep=0.5))
        nested = Per(scope="sample", selector=inner)
        assert torch.equal(nested.select(tokens) & tokens.valid, inner.select(tokens))

    def test_signals_are_found_inside(self):
        selector = Per(
            scope="image", selector=Union(members={"a": FastVSelector(), "b": SeedSelector()})
        )
        assert signals_of(selector) == {Signal.ATTENTION_PREVIOUS, Signal.VALUES}

    def test_undeclared_signals_are_refused(self):
        tokens = replace(tokens_of((3, 3)), needs=frozenset())
        with pytest.raises(ValueError, match="'values' was asked for but not declared"):
            SeedSelector().select(tokens)

    def test_arguments_by_place(self):
        ivc, random = IVCSelector(0.1), RandomSelector(0.4)
        top_up = TopUp(Union([ivc, SeedSelector(0.01)]), random, 0.5)
        assert Per("image", top_up) == Per(scope="image", selector=top_up)
        assert (top_up.keep, top_up.then) == (0.5, random)
        assert list(top_up.first.members) == ["0", "1"]
        assert MatchCount(random, ivc).like == ivc

    def test_nonsense_is_refused(self):
        with pytest.raises(ValueError, match=r"Per\.scope is 'picture'"):
            Per(scope="picture", selector=RandomSelector())
        with pytest.raises(ValueError, match=r"Union\.members is empty"):
            Union(members={})
        with pytest.raises(TypeError, match=r"TopUp\.then is IVCSelector"):
            TopUp(first=IVCSelector(), then=IVCSelector())


class TestControls:
    def test_border_takes_the_outer_ring_first(self):
        tokens = tokens_of((6, 7))
        ring = BorderSelector(keep=22).select(tokens)[0].view(6, 7)
        assert not ring[1:-1, 1:-1].any()
        assert ring.sum() == 22

    def test_random_follows_the_sample_not_the_place_in_the_batch(self):
        tokens = replace(tokens_of((8, 8)), seeds=(1234,))
        other = replace(tokens_of((8, 8), before=9), seeds=(1234,))
        selector = RandomSelector(keep=0.5)
        assert kept(selector, tokens) == kept(selector, other)
        assert kept(selector, tokens) != kept(selector, replace(tokens, seeds=(1235,)))
        assert kept(selector, tokens) != kept(RandomSelector(keep=0.5, seed=1), tokens)

    def test_random_is_uniform(self):
        tokens = tokens_of((100, 100))
        score = RandomSelector().score(tokens)
        assert 0 <= score.min() < 0.01
        assert 0.99 < score.max() < 1
        assert abs(float(score.mean()) - 0.5) < 0.02
        assert score.unique().numel() > 9_900


def test_sizes_are_known_where_the_budget_alone_decides():
    tokens = tokens_of((10, 10), (4, 5))
    ivc, seeds = IVCSelector(keep=0.1), SeedSelector(keep=0.01)
    first = Union({"ivc": ivc, "seeds": seeds})
    assert RandomSelector(keep=0.4).sizes(tokens) == [40, 8]
    assert (ivc.sizes(tokens), ivc.at_most(tokens)) == (None, [20, 4])
    assert (first.sizes(tokens), first.at_most(tokens)) == (None, [21, 5])
    assert TopUp(first, RefineSelector(), keep=0.25).sizes(tokens) == [25, 5]
    assert TopUp(first, RefineSelector(), keep=0.2).sizes(tokens) is None  # 21 may be more than 20
    assert Per("image", RandomSelector(keep=0.4)).sizes(tokens) == [40, 8]
    assert Per("sample", RandomSelector(keep=0.4)).sizes(tokens) is None  # which rows give them?
    assert RandomSelector(keep=0.4).sizes(tokens.restrict(tokens.ordinal < 9)) is None
    assert WindowFastVSelector(keep=0.4).sizes(tokens) is None  # its `select` is its own


@pytest.mark.parametrize("scope", ["row", "thumbnail", "image", "sample"])
def test_rows_that_are_those_of_the_scope_stay_as_they_are(scope):
    one, two = tokens_of((3, 4)), tokens_of((3, 4), (2, 2))
    assert one.regroup(scope) is one
    mask = one.ordinal < 5
    assert torch.equal(one.to_parent(mask), mask)
    assert (two.regroup(scope) is two) == (len(two.regroup(scope).rows) == 2)
    assert one.regroup("line") is not one


@settings(deadline=None, max_examples=60)
@given(
    grids=st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=4),
    keep=st.one_of(st.floats(0.01, 1.0), st.integers(1, 60)),
    scope=st.sampled_from(["row", "image", "sample", "line"]),
    seed=st.integers(0, 5),
)
def test_budgets_are_met_in_any_scope(grids, keep, scope, seed):
    tokens = tokens_of(*grids, seed=seed)
    groups = tokens.regroup(scope)
    assert sum(groups.count) == sum(tokens.count)
    assert groups.index[groups.valid].sort().values.tolist() == (
        tokens.index[tokens.valid].sort().values.tolist()
    )
    for ranked in (RandomSelector(keep=keep), SeedSelector(keep=keep), RefineSelector(keep=keep)):
        chosen = ranked.select(groups)
        assert (chosen & groups.valid).sum(1).tolist() == ranked.budget(groups)
        assert groups.to_parent(chosen).sum() == chosen.sum()
        assert not (groups.to_parent(chosen) & ~tokens.valid).any()


@settings(deadline=None, max_examples=30)
@given(
    grids=st.lists(st.tuples(st.integers(1, 8), st.integers(1, 8)), min_size=2, max_size=3),
    keep=st.floats(0.05, 0.95),
)
def test_rows_do_not_influence_each_other(grids, keep):
    """The first image keeps the same tokens, however wide its neighbours make the table."""
    together = tokens_of(*grids)
    alone = tokens_of(grids[0])
    for selector in (
        IVCSelector(keep=keep),
        FirstTokenSelector(keep=keep),
        RandomSelector(keep=keep),
    ):
        assert kept(selector, together) == kept(selector, alone)


def test_attention_baselines_name_their_layer():
    assert FastVSelector.needs == {Signal.ATTENTION_PREVIOUS}
    assert PDropSelector.needs == {Signal.ATTENTION_NEXT}
