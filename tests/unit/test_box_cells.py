"""Boxes of a source: every notation, unit and size; and those that are none."""

from __future__ import annotations

from typing import Any

import pytest

from ivcprune.data.boxes import to_boxes

CORNERS = [[1.0, 2.0, 4.0, 6.0]]


def test_boxes_in_every_notation() -> None:
    assert to_boxes("1 2 4 6", "xyxy") == CORNERS
    assert to_boxes("[1, 2, 3, 4]", "xywh") == CORNERS
    assert to_boxes([1, 2, 3, 4], "xywh") == CORNERS
    assert to_boxes(["1", "2", "3", "4"], "xywh") == CORNERS
    assert to_boxes([[1, 2, 4, 6]], "xyxy") == CORNERS
    assert to_boxes("[[1, 2, 4, 6]]", "xyxy") == CORNERS
    for missing in (None, float("nan"), "", []):
        assert to_boxes(missing, "xyxy") == []


@pytest.mark.parametrize(
    ("box_format", "cell"),
    [
        ("xyxy_fractions", [0.1, 0.2, 0.4, 0.6]),
        ("xywh_fractions", [0.1, 0.2, 0.3, 0.4]),
        ("xyxy_thousandths", [100, 200, 400, 600]),
        ("xywh_thousandths", [100, 200, 300, 400]),
    ],
)
def test_shares_of_the_image_become_pixels(box_format: str, cell: list[float]) -> None:
    (box,) = to_boxes(cell, box_format, (200, 50))
    assert box == pytest.approx([20, 10, 80, 30])
    with pytest.raises(ValueError, match="an image that cannot be read"):
        to_boxes(cell, box_format)


@pytest.mark.parametrize(
    ("box_format", "cell", "why"),
    [
        ("xyxy", [0.1, 0.2, 0.4, 0.6], r"data\.box_format=xyxy_fractions"),
        ("xywh", [0.0, 0.0, 1.0, 1.0], r"data\.box_format=xywh_fractions"),
        ("xyxy", [10, 10, 400, 40], "outside its image of 200 x 50 pixels"),
        ("xyxy", [10, 10, 40, 60], "outside its image"),
        ("xyxy", [-9, 10, 40, 40], "outside its image"),
        ("xywh", [190, 10, 20, 20], "outside its image"),
        ("xyxy_fractions", [0.1, 0.2, 1.4, 0.6], "is not within its image"),
        ("xyxy_fractions", [10, 20, 40, 30], "is not within its image"),
        ("xyxy_thousandths", [10, 20, 1040, 30], "is not within its image"),
        ("xyxy", [40, 10, 10, 20], "is none in pixels, as xyxy"),
        ("xywh", [10, 10, -1, 20], "is none in pixels"),
        ("xyxy", [1, 2, float("nan"), 4], "is none in pixels"),
        ("xyxy_fractions", [0, 0, float("nan"), 1], "is none in pixels"),
        ("xyxy", [1, 2, float("inf"), 4], "is none in pixels"),
        ("xyxy", [1, 2, 3], "is not four numbers"),
        ("xyxy", [1, 2, 3, "wide"], "is not four numbers"),
        ("xyxy", [True, 2, 3, 4], "is not four numbers"),
        ("xyxy", {"x": 1, "y": 2, "w": 3, "h": 4}, "is not four numbers"),
        ("xyxy", [None] * 4, "is not four numbers"),
        ("xyxy", b"1 2 3 4 5", "is not four numbers"),
        ("xyxy", 7, "is not four numbers"),
    ],
)
def test_boxes_that_are_none_of_their_image(box_format: str, cell: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        to_boxes(cell, box_format, (200, 50))


def test_a_box_may_reach_over_the_edge_as_those_of_annotators_do() -> None:
    # 2 % of 200 is 4; of 50 it is 1, and 2 pixels are allowed on any side.
    assert to_boxes([-4, -2, 204, 52], "xyxy", (200, 50)) == [[-4, -2, 204, 52]]
    assert to_boxes([0, 0, 0, 0], "xyxy", (200, 50)) == [[0, 0, 0, 0]]
