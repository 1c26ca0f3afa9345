"""Published methods and patterns against their definitions written out in plain Python."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ivcprune.selectors import (
    AnnotatedSelector,
    CornersSelector,
    DiagonalSelector,
    DivPruneSelector,
    FastVSelector,
    FeatherSelector,
    GridSelector,
    IVCSelector,
    PDropSelector,
    Per,
    RandomSelector,
    RefineSelector,
    SeedSelector,
    SparseVLMSelector,
    TextAttentionSelector,
    Union,
    VScanSelector,
    WindowFastVSelector,
    WindowPatternSelector,
    signals_of,
)
from ivcprune.testing import RecordedSample, recorded_tokens
from ivcprune.tokens import Signal
from ivcprune.tokens.attention import Queries
from visual_tokens_helpers import tokens_of


def kept(selector, tokens, row=0):
    return (selector.select(tokens) & tokens.valid)[row].nonzero()[:, 0].tolist()


def picture(selector, height, width):
    """What is kept of a grid, line by line."""
    mask = selector.select(tokens_of((height, width)))[0].view(height, width)
    return ["".join("#" if cell else "." for cell in line) for line in mask.tolist()]


def by_rank(scores, k):
    return sorted(sorted(range(len(scores)), key=lambda i: (-scores[i], i))[:k])


class TestRounding:
    """Python's 0.7 * 90 is 62.99999999999999, 0.7 * 45 is 31.499999999999996."""

    def test_authors_cut_the_product_as_it_is(self):
        assert 0.7 * 90 == 62.99999999999999
        assert PDropSelector(keep=0.7).budget(tokens_of((9, 10))) == [62]
        assert PDropSelector(keep=0.7, rounding="floor").budget(tokens_of((9, 10))) == [63]
        assert PDropSelector(keep=0.29).budget(tokens_of((10, 10))) == [28]

    def test_fastv_rounds_it(self):
        assert FastVSelector(keep=1 - 0.3).budget(tokens_of((5, 9))) == [31]
        assert FastVSelector(keep=1 - 0.3, rounding="round").budget(tokens_of((5, 9))) == [32]

    def test_others_take_what_a_share_means(self):
        assert WindowFastVSelector(keep=0.7).budget(tokens_of((5, 9))) == [32]


class TestPDrop:
    def test_of_what_is_left(self):
        """VScan's second stage keeps int(r * current)."""
        tokens = tokens_of((5, 7))
        left = torch.arange(35)[None] < 22
        later = tokens.survivors(left, [22], tokens.slot).with_signals(tokens.signals, tokens.needs)
        assert PDropSelector(keep=0.67, of="current").select(later).sum() == 14
        assert PDropSelector(keep=0.67).select(later).sum() == 22

    def test_without_rotation_is_another_score(self):
        tokens = tokens_of((4, 5))
        plain = tokens.attention(layer="next", rope=False)[:, 0]
        assert torch.equal(PDropSelector(rope=False).score(tokens), plain)
        assert not torch.equal(PDropSelector().score(tokens), plain)

    def test_a_share_of_what_is_left_is_no_share_of_the_input(self):
        assert PDropSelector(keep=0.67, of="current").share is None
        assert PDropSelector(keep=0.67).share == 0.67


class TestVScan:
    @settings(max_examples=60)
    @given(
        height=st.integers(1, 9),
        width=st.integers(1, 9),
        window=st.integers(1, 5),
        keep=st.floats(0.05, 1.0),
        seed=st.integers(0, 50),
    )
    def test_equals_the_walk(self, height, width, window, keep, seed):
        tokens = tokens_of((height, width), seed=seed)
        early = tokens.vision_attention(depth="early")[0].tolist()
        late = tokens.vision_attention(depth="late")[0].tolist()
        n = height * width
        total = int(keep * n)
        down, across = max(1, height // window), max(1, width // window)
        cap = -(-(total // 2) // (down * across))
        chosen, filled = [], {}
        for i in sorted(range(n), key=lambda i: (-early[i], i)):
            # what is left over at the edges joins the last windows
            place = (
                min(i // width // window, down - 1),
                min(i % width // window, across - 1),
            )
            if len(chosen) < total // 2 and filled.get(place, 0) < cap:
                chosen.append(i)
                filled[place] = filled.get(place, 0) + 1
        rest = sorted((i for i in range(n) if i not in chosen), key=lambda i: (-late[i], i))
        expected = sorted(chosen + rest[: total - len(chosen)])
        assert kept(VScanSelector(keep=keep, window=window), tokens) == expected

    def test_every_picture_has_its_own_budget(self):
        chosen = VScanSelector(keep=0.5, window=2).select(tokens_of((4, 6), (8, 8)))
        assert chosen.sum(dim=1).tolist() == [12, 32]

    def test_each_window_gives_the_same_number(self):
        """T = 13 of a 4 x 6 grid: T_loc = 6, 6 // 6 = 1 of each of 6 windows of 2 x 2, then 7 more.

        With T = 15, T_loc is 7, of which a window gives 1 as well: 6 + 8 stay, one fewer than T.
        """
        tokens = tokens_of((4, 6))
        early = tokens.vision_attention(depth="early")[0].view(2, 2, 3, 2)
        best = early.permute(0, 2, 1, 3).flatten(2).argmax(dim=2).flatten().tolist()
        local = {(w // 3 * 2 + b // 2) * 6 + w % 3 * 2 + b % 2 for w, b in enumerate(best)}
        late = tokens.vision_attention(depth="late")[0].tolist()
        rest = sorted(set(range(24)) - local, key=lambda i: (-late[i], i))
        for total, n_global in ((13, 7), (15, 8)):
            selector = VScanSelector(keep=total, window=2, quota="each")
            assert kept(selector, tokens) == sorted(local | set(rest[:n_global]))

    def test_brought_to_a_share_the_budget_is_met(self):
        selector = VScanSelector(keep=0.6, window=2, quota="each").with_keep(15 / 24)
        assert selector.select(tokens_of((4, 6))).sum() == 15

    def test_quota_of_another_name(self):
        with pytest.raises(ValueError, match=r"VScanSelector\.quota is 'some'.*each, most"):
            VScanSelector(quota="some")

    def test_window_of_no_size(self):
        with pytest.raises(ValueError, match=r"VScanSelector\.window is 0"):
            VScanSelector(window=0)


class TestSparseVLM:
    def test_mean_over_the_raters(self):
        tokens = tokens_of((4, 5), after=8)
        raters = tokens.raters()
        rows = tokens.attention(layer="previous", queries=raters)[0]
        chosen = raters.mask[0]
        assert 0 < chosen.sum() < len(chosen)
        score = SparseVLMSelector().score(tokens)[0]
        assert torch.allclose(score, rows[chosen].mean(dim=0), atol=1e-6)

    def test_raters_follow_their_definition(self):
        tokens = tokens_of((4, 5), before=3, after=8)
        embeddings = tokens.signals.embeddings()[0]
        text, visual = embeddings[23:], embeddings[3:23]  # all that follows the image
        received = (visual @ text.T).softmax(dim=-1).mean(dim=0)
        assert tokens.raters().mask[0].tolist() == (received > received.mean()).tolist()

    def test_without_text_the_choice_is_spread(self):
        tokens = tokens_of((1, 32), before=0, after=0)
        chosen = kept(SparseVLMSelector(keep=8), tokens)
        assert chosen == [0, 4, 8, 12, 16, 20, 24, 28]

    @pytest.mark.parametrize(("keep", "n"), [(7, 7), (20, 19), (300, 19), (0.9999, 20)])
    def test_a_count_leaves_at_least_one_out(self, keep, n):
        assert len(kept(SparseVLMSelector(keep=keep), tokens_of((4, 5), after=8))) == n

    def test_signals(self):
        assert signals_of(SparseVLMSelector()) == {Signal.ATTENTION_PREVIOUS, Signal.RATERS}


class TestFeather:
    def test_scores_are_a_softmax_over_the_row_alone(self):
        score = FeatherSelector().score(tokens_of((4, 5), (2, 3)))
        assert score.sum(dim=1).tolist() == pytest.approx([1.0, 1.0])

    def test_keeps_what_an_unrotated_softmax_says(self):
        tokens = tokens_of((4, 5))
        inputs = tokens.signals.attention_inputs(tokens.signals.last_token(), "previous", False)
        keys = inputs.keys[0, :, 3:23].repeat_interleave(2, dim=0)
        logits = torch.einsum("hd,hkd->hk", inputs.queries[0, :, 0], keys) * inputs.scaling
        scores = logits.softmax(dim=-1).mean(dim=0).tolist()
        assert kept(FeatherSelector(keep=0.3), tokens) == by_rank(scores, 6)

    def test_grid(self):
        assert picture(GridSelector(), 5, 7) == [
            "#..#..#",
            ".......",
            ".......",
            "#..#..#",
            ".......",
        ]

    def test_stage_one_brought_to_a_budget_keeps_the_grid(self):
        first = Union({"grid": GridSelector(), "feather": FeatherSelector()})
        tokens = tokens_of((6, 6))
        chosen = first.with_keep(0.5).select(tokens)
        assert chosen.sum() == 18
        assert not (GridSelector().select(tokens) & ~chosen).any()

    def test_stride_of_nothing(self):
        with pytest.raises(ValueError, match=r"GridSelector\.stride is 0"):
            GridSelector(stride=0)


class TestDivPrune:
    @settings(max_examples=40)
    @given(
        height=st.integers(1, 5),
        width=st.integers(1, 6),
        keep=st.integers(1, 30),
        seed=st.integers(0, 50),
    )
    def test_equals_the_greedy_rule(self, height, width, keep, seed):
        tokens = tokens_of((height, width), (2, 7), seed=seed)
        n = height * width
        vectors = torch.nn.functional.normalize(tokens.embeddings()[0, :n], dim=-1)
        distance = (1 - vectors @ vectors.T).tolist()
        chosen: list[int] = []
        for _ in range(min(keep, n)):
            others = chosen or range(n)
            chosen.append(
                max(
                    (i for i in range(n) if i not in chosen),
                    key=lambda i: min((distance[i][j] for j in others if j != i), default=2.0),
                )
            )
        assert kept(DivPruneSelector(keep=keep), tokens) == sorted(chosen)

    def test_takes_one_of_each_direction_first(self):
        directions = torch.eye(6)[[0, 0, 1, 1, 1, 2, 0, 2]]
        tokens = tokens_of((2, 4), before=0, after=0)
        given_input = replace(tokens.signals.input, embeddings=directions[None])
        signals = replace(tokens.signals, input=given_input)
        tokens = tokens.with_signals(signals, tokens.needs)
        assert kept(DivPruneSelector(keep=3), tokens) == [0, 2, 5]

    def test_letterbox_is_never_taken(self):
        tokens = tokens_of((3, 4))
        content = torch.arange(12)[None] < 5
        assert kept(
            DivPruneSelector(keep=9), replace(tokens, eligible=content, all_alike=False)
        ) == [0, 1, 2, 3, 4]


class TestPatterns:
    def test_corners(self):
        assert picture(CornersSelector(), 5, 6) == [
            "#....#",
            "......",
            "..#...",
            "......",
            "#....#",
        ]
        assert picture(CornersSelector(), 1, 1) == ["#"]

    def test_window(self):
        assert picture(WindowPatternSelector(keep=9), 7, 7) == [
            ".......",
            ".......",
            "..###..",
            "..###..",
            "..###..",
            ".......",
            ".......",
        ]

    def test_window_has_the_proportions_of_the_grid(self):
        assert picture(WindowPatternSelector(keep=8), 4, 8)[1:3] == ["..####..", "..####.."]

    def test_diagonals(self):
        assert picture(DiagonalSelector(keep=9), 5, 5) == [
            "#...#",
            ".#.#.",
            "..#..",
            ".#.#.",
            "#...#",
        ]

    @pytest.mark.parametrize("pattern", [WindowPatternSelector(), DiagonalSelector()])
    def test_extent(self, pattern):
        assert pattern.select(tokens_of((20, 10))).sum() == 30

    def test_annotated(self):
        sample = RecordedSample(((4, 6), (2, 2)))
        chosen = AnnotatedSelector().select(recorded_tokens([sample]))
        assert chosen[0].nonzero()[:, 0].tolist() == [0, 1, 2, 6, 7, 8]
        assert not chosen[1].any()

    def test_without_annotation(self):
        tokens = replace(tokens_of((3, 3)), annotated=None)
        with pytest.raises(ValueError, match=r"not annotated.*run\.annotate"):
            AnnotatedSelector().select(tokens)


class TestTextAttention:
    def test_mean_over_the_text_after_the_image(self):
        tokens = tokens_of((4, 5), before=3, after=6)
        slots = torch.arange(25, 29)[None]
        queries = Queries(slots, torch.ones_like(slots, dtype=torch.bool))
        expected = tokens.attention(queries)[0].mean(dim=0)
        assert torch.allclose(TextAttentionSelector().score(tokens)[0], expected, atol=1e-6)

    def test_all_text_counts_tokens_that_see_no_image_too(self):
        tokens = tokens_of((4, 5), before=3, after=6)
        after, everywhere = (
            TextAttentionSelector(text=span).score(tokens) for span in ("after_image", "all")
        )
        assert not torch.allclose(after, everywhere)
        assert everywhere.sum() < after.sum()

    @pytest.mark.parametrize("before", [0, 4])
    def test_where_no_text_sees_the_image_the_choice_is_spread(self, before):
        tokens = tokens_of((1, 16), before=before, after=0)
        assert kept(TextAttentionSelector(keep=4), tokens) == [0, 4, 8, 12]

    def test_unknown_span(self):
        with pytest.raises(ValueError, match=r"TextAttentionSelector\.text is 'before'"):
            TextAttentionSelector(text="before")


class TestUnionBudget:
    def test_the_ranking_with_the_largest_share_fills(self):
        union = Union({"ivc": IVCSelector(), "s": SeedSelector(), "f": RefineSelector(keep=0.2)})
        assert union.share == 0.2
        assert union.with_keep(0.5).select(tokens_of((10, 10))).sum() == 50

    @pytest.mark.parametrize(
        "members",
        [
            {"a": IVCSelector(), "b": GridSelector()},
            {"a": RandomSelector(keep=0.2), "b": FastVSelector(keep=0.2)},
            {"a": Per("sample", FastVSelector())},
        ],
    )
    def test_none_that_fills(self, members):
        assert Union(members).share is None
        with pytest.raises(ValueError, match="put them into a TopUp"):
            Union(members).with_keep(0.5)
