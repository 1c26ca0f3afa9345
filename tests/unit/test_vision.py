"""Attention received in linear memory, and which visual token is which token of the tower."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from ivcprune.models.vision_towers.base import AttentionInput, TowerCall
from ivcprune.models.vision_towers.places import CanvasLayout, Layout, places
from ivcprune.models.vision_towers.received import Received, received, received_in_segments
from ivcprune.pruning.vision import VisionRecord
from ivcprune.tokens import FROM_VISION_TOWER, Signal, chunks
from ivcprune.tokens.rows import Row

SCALING = 0.7


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def full(queries, keys):
    """All weights at once, heads averaged, `[n, P, P]`."""
    return (SCALING * queries @ keys.transpose(-1, -2)).softmax(dim=-1).mean(dim=1)


class TestReceived:
    def test_worked_by_hand(self):
        """Two patches, one head of one dimension: logits [[0, ln 3], [0, 0]]."""
        queries = torch.tensor([[[[math.log(3)], [0.0]]]])
        keys = torch.tensor([[[[0.0], [1.0]]]])
        found = received(queries, keys, 1.0)
        expected = torch.tensor([[(1 / 4 + 1 / 2) / 2, (3 / 4 + 1 / 2) / 2]])
        torch.testing.assert_close(found.mean, expected)
        assert found.cls is found.mean

    def test_class_token_worked_by_hand(self):
        """It asks with logits [0, ln 2, ln 5]; the patches ask alike, and it is left out."""
        queries = torch.tensor([[[[1.0], [0.0], [0.0]]]])
        keys = torch.tensor([[[[0.0], [math.log(2)], [math.log(5)]]]])
        found = received(queries, keys, 1.0, class_token=True)
        torch.testing.assert_close(found.cls, torch.tensor([[2 / 8, 5 / 8]]))
        torch.testing.assert_close(found.mean, torch.tensor([[1 / 3, 1 / 3]]))

    @given(
        shape=st.tuples(*[st.integers(1, 3)] * 2, st.integers(2, 9), st.just(4)),
        chunk=st.integers(1, 300),
        class_token=st.booleans(),
        seed=st.integers(0, 99),
    )
    def test_any_chunk_gives_the_means_of_the_full_softmax(self, shape, chunk, class_token, seed):
        queries, keys = random(*shape, seed=seed), random(*shape, seed=seed + 100)
        weights, first = full(queries, keys), int(class_token)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(chunks, "LARGEST", chunk)
            found = received(queries, keys, SCALING, class_token=class_token)
        mean = weights[:, first:, first:].mean(dim=1)
        torch.testing.assert_close(found.mean, mean)
        torch.testing.assert_close(found.cls, weights[:, 0, 1:] if class_token else mean)

    @given(
        lengths=st.lists(st.integers(1, 6), min_size=1, max_size=6),
        chunk=st.sampled_from([1, 7, 2**24]),
    )
    def test_every_segment_is_a_softmax_of_its_own(self, lengths, chunk):
        queries, keys = random(2, sum(lengths), 4), random(2, sum(lengths), 4, seed=1)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(chunks, "LARGEST", chunk)
            found = received_in_segments(queries, keys, lengths, SCALING)
        alone = [
            full(q[None], k[None]).mean(dim=1)[0]
            for q, k in zip(queries.split(lengths, 1), keys.split(lengths, 1), strict=True)
        ]
        torch.testing.assert_close(found.mean, torch.cat(alone))

    def test_half_precision_is_summed_in_float32(self):
        queries, keys = random(1, 2, 300, 8).bfloat16(), random(1, 2, 300, 8, seed=1).bfloat16()
        found = received(queries, keys, SCALING).mean
        assert found.dtype == torch.float32
        expected = full(queries.double(), keys.double()).mean(dim=1)
        torch.testing.assert_close(found.double(), expected, atol=1e-7, rtol=1e-5)

    @pytest.mark.parametrize("chunk", [1, 1000])
    def test_no_tensor_grows_with_the_square_of_the_patches(self, chunk, monkeypatch):
        monkeypatch.setattr(chunks, "LARGEST", chunk)
        heads, patches, width = 2, 200, 4
        queries, keys = random(heads, patches, width), random(heads, patches, width, seed=1)
        with LargestTensor() as seen:
            received_in_segments(queries, keys, [patches], SCALING)
        assert seen.largest <= max(chunk, heads * patches * width)


class LargestTensor(TorchDispatchMode):
    """Elements of the largest tensor that any operation gives."""

    largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for each in out if isinstance(out, tuple | list) else [out]:
            if isinstance(each, torch.Tensor):
                self.largest = max(self.largest, each.numel())
        return out


def rows(*described):
    """Rows from (sample, tokens), or (sample, tokens, kind)."""
    return [
        Row(sample, 0, kind[0] if kind else "image", (1, n), n, n) for sample, n, *kind in described
    ]


class TestPlaces:
    def test_pictures_follow_one_another(self):
        found = places(rows((0, 1), (0, 3), (1, 2)), [[1, 3, 2]], Layout())
        assert found.tolist() == [[0, 1, 2, 3], [4, 5, 6, 6]]

    def test_copies_of_a_sample_share_its_pictures(self):
        shown = rows((0, 1), (0, 2), (1, 1), (1, 2), (2, 2), (3, 2))
        found = places(shown, [[1, 2, 2]], Layout(apart=True))
        assert found[:, :3].tolist() == [[0, 1, 2]] * 2 + [[3, 4, 5]] * 2

    def test_samples_without_pictures_keep_their_place(self):
        found = places(rows((2, 2), (3, 2)), [[2]], Layout())
        assert found.tolist() == [[2, 2], [2, 2], [0, 1], [0, 1]]

    def test_rows_may_be_sorted_by_anything_but_the_order_within_a_sample(self):
        found = places(rows((1, 2), (0, 1), (0, 2)), [[1, 2, 2]], Layout())
        assert found[:, :3].tolist() == [[0, 1, 2], [3, 4, 5]]

    def test_videos_are_encoded_after_all_images(self):
        shown = rows((0, 2, "frame"), (0, 1), (1, 1), (1, 3, "frame"))
        found = places(shown, [[1, 1], [2, 3]], Layout(apart=True))
        assert found[:, :4].tolist() == [[2, 3, 0, 7], [1, 4, 5, 6]]

    def test_videos_are_encoded_among_the_images(self):
        shown = rows((0, 2, "frame"), (0, 1), (1, 1), (1, 3, "frame"))
        found = places(shown, [[2, 1, 1, 3]], Layout())
        assert found[:, :4].tolist() == [[0, 1, 2, 7], [3, 4, 5, 6]]

    def test_lines_run_across_the_tiles_of_a_canvas(self):
        """A thumbnail of 2 x 2 tokens, a separator, then two tiles side by side."""
        shown = [Row(0, 0, "tile", grid, n, n) for grid, n in (((2, 3), 6), ((1, 1), 1))]
        shown.append(Row(0, 0, "tile", (2, 5), 10, 10))
        found = places(shown, [[4, 4, 4]], CanvasLayout(side=2))
        thumbnail, canvas = [0, 1, 12, 2, 3, 12], [4, 5, 8, 9, 12, 6, 7, 10, 11, 12]
        assert found.tolist() == [[*thumbnail, 12, *canvas]]
        with pytest.raises(ValueError, match="let one call"):
            places(shown, [[4, 4]], CanvasLayout(side=2))

    @given(
        samples=st.lists(st.lists(st.integers(1, 4), max_size=3), min_size=1, max_size=4).filter(
            lambda samples: any(samples)
        ),
        copies=st.integers(1, 3),
    )
    def test_every_token_of_a_copy_finds_its_own(self, samples, copies):
        """Token t of picture p is found where the tower has it."""
        repeated = [sample for sample in samples for _ in range(copies)]
        shown = rows(*((i, n) for i, sample in enumerate(repeated) for n in sample))
        counts = [n for sample in samples for n in sample]
        found = places(shown, [counts], Layout())
        names = [(p, t) for p, n in enumerate(counts) for t in range(n)]
        first = 0
        for number, sample in enumerate(samples):
            expected = [(first + p, t) for p, n in enumerate(sample) for t in range(n)]
            first += len(sample)
            for copy in range(number * copies, (number + 1) * copies if sample else 0):
                seen = [names[i] for i in found[copy].tolist() if i < len(names)]
                assert seen == expected

    @pytest.mark.parametrize(
        ("shown", "counts"),
        [
            (rows((0, 2)), [[3]]),
            (rows((0, 2)), [[2, 2]]),
            (rows((0, 2), (0, 2), (1, 2)), [[2, 2]]),
            (rows((0, 2), (1, 2), (2, 3)), [[2, 3]]),
            (rows((0, 2), (1, 3)), [[2]]),
            (rows((0, 2), (0, 2, "frame")), [[2]]),
            (rows((1, 2), (2, 2)), [[2]]),
        ],
    )
    def test_other_pictures_than_those_encoded(self, shown, counts):
        with pytest.raises(ValueError, match="let one call of the model encode exactly"):
            places(shown, counts, Layout(apart=True))


class CountingTower:
    """Scores, keys and features of a call are what it kept; counts how often it is asked."""

    attention = {"early": None, "late": None}  # noqa: RUF012
    asked = 0

    def features(self, call, projected):
        self.asked += 1
        return projected

    def received(self, call, layer, given):
        self.asked += 1
        return Received(given.hidden, -given.hidden)

    def keys(self, call, layer, given, rope):
        self.asked += 1
        return given.hidden[:, None, None] * (10 if rope else 1)


NO_KEYS = FROM_VISION_TOWER - {Signal.VISION_KEYS_EARLY, Signal.VISION_KEYS_LATE}


class TestRecord:
    """Two calls, of two tokens and of one; the second sample has fewer tokens."""

    @pytest.fixture
    def calls(self):
        states = [torch.tensor([1.0, 2.0]), torch.tensor([3.0])]
        return [
            TowerCall([(1, len(x))], x[:, None], {"late": AttentionInput(x, {})}) for x in states
        ]

    @pytest.fixture
    def record(self, calls):
        return VisionRecord(CountingTower(), calls, torch.tensor([[0, 2], [1, 3]]), NO_KEYS)

    def test_tables_by_sample_and_number(self, record):
        assert record.features().tolist() == [[[1], [3]], [[2], [0]]]
        assert record.attention_received("mean", "late").tolist() == [[1, 3], [2, 0]]
        assert record.attention_received("cls", "late").tolist() == [[-1, -3], [-2, 0]]

    def test_computed_once_and_what_it_came_from_is_dropped(self, record, calls):
        for _ in range(2):
            record.features()
            record.attention_received("cls", "late")
            record.attention_received("mean", "late")
        assert record._tower.asked == 4  # of two calls each, features and scores
        assert all(call.projected is None and not call.attention for call in calls)

    def test_keys_and_scores_come_from_the_same_input(self, calls):
        record = VisionRecord(CountingTower(), calls, torch.tensor([[0, 2], [1, 3]]))
        record.attention_received("cls", "late")
        for _ in range(2):
            assert record.keys("late", False)[..., 0, 0].tolist() == [[1, 3], [2, 0]]
            assert record.keys("late", True)[..., 0, 0].tolist() == [[10, 30], [20, 0]]
        assert record._tower.asked == 6  # of two calls each: scores, and keys of both kinds

    def test_what_was_not_recorded(self, record, calls):
        with pytest.raises(ValueError, match=r"'vision_attention_early' .* was not recorded"):
            record.attention_received("cls", "early")
        calls[0].projected = None
        with pytest.raises(ValueError, match=r"'vision_keys_early' .* was not recorded"):
            record.keys("early", True)
        with pytest.raises(ValueError, match=r"'features' .* was not recorded"):
            record.features()
