"""Methods for video: frames, segments, and what a batch must not change."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from golden_methods import as_video
from ivcprune.selectors import DyCokeSelector, FastVIDSelector, Per
from ivcprune.selectors.anchors import merged_into_anchors
from ivcprune.selectors.base import decision
from ivcprune.selectors.frames import Frames, frame_numbers
from ivcprune.selectors.segments import segments_of
from ivcprune.testing import RecordedSample, recorded_tokens
from ivcprune.testing.tokens import thinned
from ivcprune.tokens.rows import Row

SAMPLES = (
    RecordedSample(((3, 4),) * 6, before=2, after=4, seed=1),
    RecordedSample(((4, 5),) * 9, before=5, after=3, seed=2),
    RecordedSample(((2, 2),), before=1, after=3, seed=3),
)
SELECTORS = (
    DyCokeSelector(merging=0.5),
    FastVIDSelector(keep=0.3, segments=3, similar=0.2),
    FastVIDSelector(keep=0.8, segments=2, similar=-1.0),
)


def videos(*samples, **layout):
    return as_video(recorded_tokens(samples, **layout))


def decided(selector, tokens):
    """What is kept of each sample, and the states of it, by sample."""
    chosen = decision(selector, tokens)
    keep = chosen.keep & tokens.valid
    states = tokens.hidden() if chosen.merged is None else chosen.merged
    found = {}
    for number in tokens.sample.unique().tolist():
        mine = keep & (tokens.sample == number)[:, None]
        order = tokens.ordinal[mine].argsort()
        found[number] = (tokens.ordinal[mine][order].tolist(), states[mine][order])
    return found


def assert_same(one, other):
    assert one.keys() == other.keys()
    for number, (kept, states) in one.items():
        assert kept == other[number][0]
        torch.testing.assert_close(states, other[number][1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("selector", SELECTORS)
class TestAnyBatch:
    def test_batch_equals_singles(self, selector):
        alone = {i: decided(selector, videos(sample))[0] for i, sample in enumerate(SAMPLES)}
        assert_same(decided(selector, videos(*SAMPLES)), alone)

    def test_padding_and_the_order_of_rows(self, selector):
        plain = decided(selector, videos(*SAMPLES))
        assert_same(decided(selector, videos(*SAMPLES, padding=6)), plain)
        tokens = recorded_tokens(SAMPLES, interleaved=True)
        assert_same(decided(selector, as_video(tokens)), plain)

    def test_it_may_stand_in_any_scope(self, selector):
        plain = decided(selector, videos(*SAMPLES))
        assert_same(decided(Per("image", selector), videos(*SAMPLES)), plain)

    def test_an_earlier_stage_may_have_thinned_the_frames(self, selector):
        tokens = videos(*SAMPLES)
        left = thinned(tokens, tokens.ordinal % 3 == 0)
        for kept, states in decided(selector, left).values():
            assert all(number % 3 for number in kept)
            assert states.isfinite().all()

    def test_sizes_are_true(self, selector):
        tokens = videos(*SAMPLES)
        sizes = selector.sizes(tokens)
        kept = decision(selector, tokens).keep.sum(dim=1).tolist()
        assert sizes is None or sizes == kept


def test_dycoke_says_how_many_it_keeps():
    tokens = videos(SAMPLES[0])
    assert DyCokeSelector(merging=0.5).sizes(tokens) == [12, 6, 6, 6, 12, 6]


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_fastvid_keeps_everything_where_it_is_told_to(stride):
    tokens = videos(*SAMPLES)
    selector = FastVIDSelector(segments=2, similar=0.0, stride=stride).with_keep(1.0)
    chosen = decision(selector, tokens)
    assert torch.equal(chosen.keep & tokens.valid, tokens.valid)
    assert torch.equal(chosen.merged[tokens.valid], tokens.hidden()[tokens.valid])


def test_frames_are_numbered_within_their_video():
    grid = (2, 3)
    rows = (
        Row(0, 0, "frame", grid, 6, 6),
        Row(1, 0, "image", grid, 6, 6),
        Row(0, 0, "frame", grid, 6, 6),
        Row(0, 0, "frame", (1, 1), 1, 1),  # a separator
        Row(0, 1, "frame", grid, 6, 6),
    )
    assert frame_numbers(rows) == ([0, -1, 1, -1, 0], [2, 0, 2, 2, 1])


def test_the_same_place_of_another_frame():
    tokens = videos(RecordedSample(((1, 3),) * 2)).regroup("image")
    frames = Frames.of(tokens)
    columns, found = frames.columns_in(frames.number - 1)
    assert found.tolist() == [[False] * 3 + [True] * 3]
    assert columns[0, 3:].tolist() == [0, 1, 2]


class TestSegments:
    ROWS = tuple(Row(0, 0, "frame", (1, 1), 1, 1) for _ in range(5))
    # cosines of neighbours: 1, 0.6, 0.8, 0
    VECTORS = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [1.0, 0.0]])

    def test_the_least_similar_pairs_are_cut(self):
        found = segments_of(self.ROWS, self.VECTORS, least=3, below=-1.0)
        assert found.length.tolist() == [2, 2, 2, 2, 1]
        assert found.from_end.tolist() == [1, 0, 1, 0, 0]

    def test_all_below_the_threshold_are_cut(self):
        found = segments_of(self.ROWS, self.VECTORS, least=1, below=0.9)
        assert found.length.tolist() == [2, 2, 1, 1, 1]

    def test_other_videos_and_pictures_are_apart(self):
        rows = (*self.ROWS[:2], replace(self.ROWS[2], image=1), Row(1, 0, "tile", (1, 1), 1, 1))
        found = segments_of(rows, torch.ones(4, 2), least=1, below=0.9)
        assert found.length.tolist() == [2, 2, 1, 1]
        assert len(set(found.name.tolist())) == 3


def test_anchors_by_hand():
    """Two frames of one segment, an anchor in the second; its cosines decide nothing alone."""
    states = torch.tensor([[[4.0, 0.0], [0.0, 2.0], [2.0, 0.0]]])
    frame, segment = torch.tensor([[0, 0, 1]]), torch.tensor([[0, 0, 0]])
    gives = torch.ones(1, 3, dtype=torch.bool)
    anchor = torch.tensor([[False, False, True]])
    merged = merged_into_anchors(states, segment, frame, gives, anchor, own=0.5)
    # all three go to it: mean (2, 2/3), weight max(0.5, 1/4)
    expected = 0.5 * torch.tensor([2.0, 0.0]) + 0.5 * torch.tensor([2.0, 2 / 3])
    torch.testing.assert_close(merged[0, 2], expected)
    assert torch.equal(merged[0, :2], states[0, :2])
    apart = merged_into_anchors(states, torch.tensor([[0, 0, 1]]), frame, gives, anchor, own=0.5)
    assert torch.equal(apart, states)
