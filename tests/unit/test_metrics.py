"""Parsing, scoring, intervals and aggregation."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ivcprune.data.sample import Sample
from ivcprune.metrics.aggregate import aggregate
from ivcprune.metrics.answers import exact_match
from ivcprune.metrics.boxes import BOX_FORMATS, iou, parse_box
from ivcprune.metrics.intervals import wilson
from ivcprune.metrics.scoring import SCORERS, check_tasks, score

SQUARE = (100, 100)
JSON_REPLY = '```json\n[{"bbox_2d": [10, 20, 30, 40], "label": "dog"}]\n```'

replies = st.text() | st.lists(
    st.sampled_from(["1", "28", "-7", "9" * 400, " ", ",", "[", "]", '"bbox_2d": [', "1, 2, 3, 4]"])
).map("".join)


@pytest.mark.parametrize(
    ("box_format", "text", "box"),
    [
        ("plain", "14 28 98 112", (14, 28, 98, 112)),
        ("plain", "the box: (1, 2), (3, 4), then 5 6", (1, 2, 3, 4)),
        ("plain", "-5 0 10 20", (-5, 0, 10, 20)),
        ("plain", "14 28 98", None),
        ("plain", "", None),
        ("qwen2_5_vl", JSON_REPLY, (10, 20, 30, 40)),
        ("qwen2_5_vl", '{"bbox_2d":[1,2,3,4]}, {"bbox_2d":[5,6,7,8]}', (1, 2, 3, 4)),
        ("qwen2_5_vl", "10 20 30 40", None),
        ("qwen2_5_vl", '"bbox_2d": [10, 20, 30', None),
    ],
)
def test_box_formats(box_format: str, text: str, box: tuple[int, ...] | None) -> None:
    assert parse_box(text, box_format, SQUARE, SQUARE) == box


def test_box_returns_to_original_pixels() -> None:
    box = parse_box(JSON_REPLY, "qwen2_5_vl", input_size=(100, 200), original_size=(50, 600))
    assert box == (5, 60, 15, 120)


def test_unknown_box_format_lists_the_choices() -> None:
    with pytest.raises(ValueError, match=r"box_format is 'xyxy'.*'plain', 'qwen2_5_vl'"):
        parse_box("1 2 3 4", "xyxy", SQUARE, SQUARE)


@settings(deadline=None)
@given(text=replies, box_format=st.sampled_from(sorted(BOX_FORMATS)))
def test_any_text_gives_a_finite_box_or_none(text: str, box_format: str) -> None:
    box = parse_box(text, box_format, (56, 84), (640, 480))
    assert box is None or (len(box) == 4 and all(math.isfinite(value) for value in box))


def test_iou() -> None:
    assert iou((0, 0, 10, 10), (0, 0, 10, 10)) == 1
    assert iou((0, 0, 10, 10), (5, 0, 15, 10)) == pytest.approx(1 / 3)
    assert iou((0, 0, 10, 10), (10, 0, 20, 10)) == 0
    assert iou((10, 10, 0, 0), (0, 0, 10, 10)) == 0
    assert iou((3, 3, 3, 3), (3, 3, 3, 3)) == 0


coordinates = st.tuples(*[st.floats(-1e4, 1e4)] * 4)


@settings(deadline=None)
@given(a=coordinates, b=coordinates)
def test_iou_is_symmetric_and_bounded(a: tuple[float, ...], b: tuple[float, ...]) -> None:
    assert 0 <= iou(a, b) <= 1 + 1e-9
    assert iou(a, b) == pytest.approx(iou(b, a))


def test_exact_match_forgives_case_and_outer_space_only() -> None:
    assert exact_match(" Yes\n", ["yes", "yeah"])
    assert not exact_match("yes.", ["yes"])
    assert not exact_match("yes", [])


def grounding(box: list[float]) -> Sample:
    return Sample("a", "grounding", [], "it", boxes=[box], width=100, height=100)


@pytest.mark.parametrize(
    ("true_box", "hit"),
    [([0, 0, 10, 10], 1.0), ([0, 0, 10, 20], 1.0), ([0, 0, 10, 20.1], 0.0)],
)
def test_grounding_hits_from_an_iou_of_one_half(true_box: list[float], hit: float) -> None:
    parsed, value = score(grounding(true_box), "0 0 10 10", "plain", SQUARE)
    assert json.loads(parsed) == [0, 0, 10, 10]
    assert value == hit


def test_reply_without_a_box_misses() -> None:
    assert score(grounding([0, 0, 1, 1]), "I see no dog", "plain", SQUARE) == ("", 0.0)


def test_vqa_is_scored_by_exact_match() -> None:
    sample = Sample("a", "vqa", [], "how many?", answers=["three", "3"])
    assert score(sample, " Three ", "plain", SQUARE) == ("three", 1.0)
    assert score(sample, "four", "plain", SQUARE) == ("four", 0.0)


@settings(deadline=None)
@given(text=replies, task=st.sampled_from(sorted(SCORERS)))
def test_any_reply_is_scored(text: str, task: str) -> None:
    sample = Sample("a", task, [], "?", answers=["1"], boxes=[[0, 0, 9, 9]], width=9, height=9)
    assert 0.0 <= score(sample, text, "qwen2_5_vl", (28, 28))[1] <= 1.0


def test_unknown_task_lists_the_known_ones() -> None:
    check_tasks(["vqa", "grounding"])
    with pytest.raises(ValueError, match=r"\['caption'\].*'grounding'.*'vqa'"):
        score(Sample("a", "caption", [], "?"), "a dog", "plain", SQUARE)


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [(0, 10, 0.0, 0.277533), (5, 10, 0.236593, 0.763407), (10, 10, 0.722467, 1.0)],
)
def test_wilson_reference_values(hits: int, n: int, low: float, high: float) -> None:
    assert wilson(hits / n, n) == pytest.approx((low, high), abs=1e-6)


def test_wilson_without_samples() -> None:
    assert wilson(0.0, 0) is None


@settings(deadline=None)
@given(mean=st.floats(0, 1), n=st.integers(1, 10**6))
def test_wilson_holds_the_mean_inside_the_unit_interval(mean: float, n: int) -> None:
    low, high = wilson(mean, n) or (math.nan, math.nan)
    assert 0 <= low <= mean <= high <= 1


def test_aggregate_by_task_and_category() -> None:
    rows = [
        {"task": "vqa", "category": "count", "score": 1.0},
        {"task": "vqa", "category": "count", "score": 0.0},
        {"task": "vqa", "category": "exists", "score": 1.0},
        {"task": "vqa", "category": "exists", "score": None},
        {"task": "grounding", "category": "count", "score": None},
    ]
    result = aggregate(rows)
    assert set(result) == {"grounding", "vqa", "categories"}
    assert result["vqa"]["n"] == 3
    assert result["vqa"]["value"] == pytest.approx(200 / 3)
    assert 0 < result["vqa"]["low"] < 200 / 3 < result["vqa"]["high"] < 100
    nothing = {"value": None, "low": None, "high": None, "n": 0}
    assert result["grounding"] == nothing
    assert result["categories"]["grounding"] == {"count": nothing}
    assert {name: s["n"] for name, s in result["categories"]["vqa"].items()} == {
        "count": 2,
        "exists": 1,
    }
    json.dumps(result, allow_nan=False)


def test_aggregate_of_nothing() -> None:
    assert aggregate([]) == {"categories": {}}
