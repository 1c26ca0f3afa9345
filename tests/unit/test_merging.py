"""Merged states and recycled tokens against the rules written out in plain Python."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ivcprune.selectors import (
    Among,
    FirstTokenSelector,
    IVCSelector,
    MatchCount,
    MergeDropped,
    Per,
    RandomSelector,
    Recycle,
    Selector,
    TopUp,
    Union,
    Without,
)
from ivcprune.selectors.clustering import density_peaks
from ivcprune.selectors.merging import merged_into_nearest
from ivcprune.selectors.selection import Selection
from visual_tokens_helpers import tokens_of

FIRST = FirstTokenSelector(keep=0.5)


@dataclass(frozen=True)
class Only(Selector):
    """Keeps the tokens of these columns."""

    columns: tuple[int, ...]

    def select(self, tokens):
        column = torch.arange(tokens.shape[1]).expand(tokens.shape)
        return torch.isin(column, torch.tensor(self.columns)) & tokens.valid


def with_states(tokens, states):
    """One sample's tokens, the inputs of the coming layer at all of them given `[S, E]`."""
    return tokens.with_signals(replace(tokens.signals, states=states[None]), tokens.needs)


def cosine(a, b):
    return float(torch.nn.functional.cosine_similarity(a, b, dim=0, eps=1e-12))


class TestMerging:
    def test_by_hand(self):
        """Kept: east (twice as long) and north. Two join east, one north."""
        states = torch.tensor([[[2.0, 0.0], [0.0, 1.0], [1.0, 0.5], [4.0, 1.0], [0.0, 3.0]]])
        kept = torch.tensor([[True, True, False, False, False]])
        merged = merged_into_nearest(states, kept, ~kept)
        assert merged[0, 0].tolist() == pytest.approx([7 / 3, 0.5])
        assert merged[0, 1].tolist() == pytest.approx([0.0, 2.0])

    @given(
        n=st.integers(1, 12),
        kept=st.sets(st.integers(0, 11)),
        silent=st.sets(st.integers(0, 11)),
        seed=st.integers(0, 20),
    )
    def test_equals_the_rule(self, n, kept, silent, seed):
        states = torch.randn(n, 3, generator=torch.Generator().manual_seed(seed))
        kept = [i for i in range(n) if i in kept]
        dropped = [i for i in range(n) if i not in kept and i not in silent]
        groups = {j: [j] for j in kept}
        for i in dropped if kept else []:
            groups[max(kept, key=lambda j: cosine(states[i], states[j]))].append(i)
        expected = states.clone()
        for j, members in groups.items():
            expected[j] = states[members].mean(dim=0)
        number = torch.arange(n)
        masks = [torch.isin(number, torch.tensor(x, dtype=torch.long)) for x in (kept, dropped)]
        merged = merged_into_nearest(states[None], *(mask[None] for mask in masks))
        assert torch.allclose(merged[0][masks[0]], expected[masks[0]], atol=1e-6)

    def test_chunks_change_nothing(self, monkeypatch):
        tokens = tokens_of((5, 6), (3, 7))
        whole = MergeDropped(FIRST).select(tokens)
        monkeypatch.setattr("ivcprune.tokens.chunks.LARGEST", 40)
        assert torch.allclose(MergeDropped(FIRST).select(tokens).merged, whole.merged, atol=1e-6)

    def test_rows_do_not_mix(self):
        together = MergeDropped(FIRST).select(tokens_of((4, 5), (2, 2)))
        halves = Per("image", MergeDropped(FIRST)).select(tokens_of((4, 5), (2, 2)))
        assert torch.equal(together.keep, halves.keep)
        assert torch.allclose(together.merged[together.keep], halves.merged[together.keep])

    def test_keeping_everything_changes_no_state(self):
        tokens = tokens_of((4, 5))
        chosen = MergeDropped(RandomSelector(keep=1.0)).select(tokens)
        assert chosen.keep.all()
        assert torch.equal(chosen.merged, tokens.hidden())

    def test_the_dtype_stays(self):
        tokens = tokens_of((4, 5))
        states = tokens.signals.states[0].bfloat16()
        chosen = MergeDropped(FIRST).select(with_states(tokens, states))
        assert chosen.merged.dtype == torch.bfloat16

    def test_newlines_and_letterbox_take_no_part(self):
        tokens = tokens_of((2, 5))
        newline, padding = (torch.arange(10)[None] == i for i in (4, 9))
        tokens = replace(tokens, special=newline, eligible=~padding & ~newline, all_alike=False)
        chosen = MergeDropped(Only((0, 1))).select(tokens)
        assert chosen.keep[0].nonzero()[:, 0].tolist() == [0, 1, 4]
        states = tokens.hidden()[0]
        assert torch.equal(chosen.merged[0, 4], states[4])
        given = [i for i in range(10) if i not in (0, 1, 4, 9)]
        groups = {0: [0], 1: [1]}
        for i in given:
            groups[max((0, 1), key=lambda j: cosine(states[i], states[j]))].append(i)
        for j, members in groups.items():
            assert torch.allclose(chosen.merged[0, j], states[members].mean(dim=0), atol=1e-6)


def peaks_in_python(points, n_clusters):
    """Centres (best first) and the members of each cluster."""
    n, scale = len(points), math.sqrt(len(points[0]))
    distance = [[math.dist(a, b) / scale for b in points] for a in points]
    density = [
        math.exp(-sum(d * d for d in sorted(row)[:n_clusters]) / n_clusters) for row in distance
    ]
    largest = max(map(max, distance))
    separation = [
        min(
            (distance[i][j] for j in range(n) if (density[j], -j) > (density[i], -i)),
            default=largest,
        )
        for i in range(n)
    ]
    order = sorted(range(n), key=lambda i: (-density[i] * separation[i], i))
    centres = order[:n_clusters]
    members = [[] for _ in centres]
    for i in range(n):
        nearest = min(range(n_clusters), key=lambda c: distance[i][centres[c]])
        members[centres.index(i) if i in centres else nearest].append(i)
    return centres, members


class TestDensityPeaks:
    @given(
        n=st.integers(1, 14),
        n_clusters=st.integers(1, 5),
        seed=st.integers(0, 30),
        others=st.integers(0, 9),
    )
    def test_equals_the_rule(self, n, n_clusters, seed, others):
        """Beside a row of another length, with anything in the padding."""
        n_clusters = min(n_clusters, n)
        generator = torch.Generator().manual_seed(seed)
        states = torch.randn(2, max(n, others), 3, generator=generator, dtype=torch.float64)
        mask = torch.arange(states.shape[1]) < torch.tensor([[n], [others]])
        found = density_peaks(states, mask, [n_clusters, min(1, others)])
        centres, members = peaks_in_python(states[0, :n].float().tolist(), n_clusters)
        assert found.centres[0, found.valid[0]].tolist() == centres
        means = found.means(states)[0, : len(centres)]
        expected = torch.stack([states[0, group].mean(dim=0) for group in members])
        assert torch.allclose(means, expected, atol=1e-5)

    def test_two_heaps(self):
        heap = torch.tensor([[0.0, 0.0], [0.1, 0.0], [0.0, 0.1]])
        found = density_peaks(torch.cat([heap, heap + 9])[None], torch.ones(1, 6).bool(), [2])
        assert sorted(found.centres[0].tolist()) == [0, 3]
        member = found.member[0].tolist()
        assert member[:3] == [member[0]] * 3
        assert member[3:] == [1 - member[0]] * 3

    def test_equal_vectors_make_no_empty_cluster(self):
        states = torch.ones(1, 6, 4)
        found = density_peaks(states, torch.ones(1, 6).bool(), [3])
        assert found.centres[0].tolist() == [0, 1, 2]
        assert torch.equal(found.means(states), torch.ones(1, 3, 4))


class TestRecycling:
    @pytest.mark.parametrize(
        ("n_dropped", "n_added"), [(0, 0), (1, 1), (29, 1), (30, 2), (63, 2), (64, 3), (276, 9)]
    )
    def test_how_many_come_back(self, n_dropped, n_added):
        tokens = tokens_of((20, 20))
        kept = FirstTokenSelector(keep=400 - n_dropped)
        added = Recycle(kept, RandomSelector()).select(tokens).added
        assert (0 if added is None else int(added.valid.sum())) == n_added

    def test_the_best_of_the_dropped_are_averaged(self):
        tokens = tokens_of((5, 8))
        chosen = Recycle(FirstTokenSelector(keep=10), RandomSelector()).select(tokens)
        score = RandomSelector().score(tokens)[0]
        best = sorted(range(10, 40), key=lambda i: -float(score[i]))[: int(0.3 * 30) + 1]
        states = tokens.hidden()[0]
        centres, members = peaks_in_python(states[sorted(best)].tolist(), 2)
        assert chosen.added.origin[0].tolist() == [sorted(best)[c] for c in centres]
        for new, group in zip(chosen.added.states[0], members, strict=True):
            expected = states[[sorted(best)[i] for i in group]].mean(dim=0)
            assert torch.allclose(new, expected, atol=1e-6)

    def test_rows_of_different_length(self):
        tokens = tokens_of((9, 9), (1, 2), (2, 1))
        chosen = Recycle(FirstTokenSelector(keep=2), RandomSelector()).select(tokens)
        assert chosen.added.valid.sum(dim=1).tolist() == [int(0.1 * 24) + 1, 0, 0]

    def test_of_a_sample_they_return_to_the_image_of_their_centre(self):
        tokens = tokens_of((6, 6), (7, 7))
        recycle = Recycle(FirstTokenSelector(keep=0.1), RandomSelector())
        chosen = Per("sample", recycle).select(tokens)
        sample = tokens.regroup("sample")
        whole = recycle.select(sample)
        origins = sample.index[0, whole.added.origin[0]].tolist()
        brought = tokens.index.gather(1, chosen.added.origin)[chosen.added.valid]
        assert sorted(brought.tolist()) == sorted(origins)
        states = dict(zip(origins, whole.added.states[0], strict=True))
        for index, state in zip(
            brought.tolist(), chosen.added.states[chosen.added.valid], strict=True
        ):
            assert torch.equal(state, states[index])

    def test_switched_off(self):
        tokens = tokens_of((5, 8))
        chosen = Recycle(FIRST, RandomSelector(), merge=False).select(tokens)
        assert chosen.added is None
        assert torch.equal(chosen.keep, FIRST.select(tokens))

    def test_nonsense_is_refused(self):
        with pytest.raises(TypeError, match=r"Recycle\.ranking is IVCSelector"):
            Recycle(FIRST, IVCSelector())
        with pytest.raises(ValueError, match=r"Recycle\.recycled is 1\.5"):
            Recycle(FIRST, RandomSelector(), recycled=1.5)


class TestComposition:
    @pytest.mark.parametrize(
        "around",
        [
            lambda inner: Union([inner, IVCSelector()]),
            lambda inner: TopUp(first=inner, then=RandomSelector()),
            lambda inner: Without(inner),
            lambda inner: Among(candidates=inner, selector=RandomSelector()),
            lambda inner: Among(candidates=IVCSelector(), selector=inner),
            lambda inner: MatchCount(selector=RandomSelector(), like=inner),
            lambda inner: MergeDropped(inner),
            lambda inner: Recycle(inner, RandomSelector()),
        ],
    )
    def test_inside_a_set_states_have_no_place(self, around):
        selector = around(MergeDropped(FIRST))
        with pytest.raises(TypeError, match=r"MergeDropped merges.*put MergeDropped or"):
            selector.select(tokens_of((4, 4)))

    def test_budgets_reach_the_selector_inside(self):
        selector = Per("sample", Recycle(RandomSelector(keep=0.4), RandomSelector()))
        assert selector.share == 0.4
        assert selector.with_keep(0.2).selector.selector == RandomSelector(keep=0.2)

    def test_merged_states_come_back_to_their_rows(self):
        tokens = tokens_of((4, 5), (3, 3))
        chosen = Per("sample", MergeDropped(RandomSelector(keep=0.3))).select(tokens)
        sample = tokens.regroup("sample")
        whole = MergeDropped(RandomSelector(keep=0.3)).select(sample)
        assert isinstance(chosen, Selection)
        here = dict(
            zip(tokens.index[chosen.keep].tolist(), chosen.merged[chosen.keep], strict=True)
        )
        there = zip(sample.index[whole.keep].tolist(), whole.merged[whole.keep], strict=True)
        for index, state in there:
            assert torch.equal(here.pop(index), state)
        assert not here

    def test_tokens_in_no_group_keep_their_states(self):
        tokens = tokens_of((4, 5), (3, 3))
        tile = replace(tokens.blocks[1], kind="tile")
        tokens = replace(tokens, blocks=(tokens.blocks[0], tile))
        chosen = Per("thumbnail", MergeDropped(FIRST)).select(tokens)
        assert torch.equal(chosen.merged[1, :9], tokens.hidden()[1, :9])
        assert not chosen.keep[1].any()

    def test_a_ranking_is_required(self):
        with pytest.raises(TypeError, match=r"TopUp\.then is MergeDropped"):
            TopUp(first=IVCSelector(), then=MergeDropped(FIRST))
