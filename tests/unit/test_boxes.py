"""How model families write boxes: worked by hand, and back and forth for any box."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ivcprune.metrics.boxes import BOX_FORMATS, parse_box

INPUT, ORIGINAL = (336, 336), (200, 100)


@pytest.mark.parametrize(
    ("box_format", "text", "box"),
    [
        ("qwen2_vl", "<|box_start|>(100,200),(300,400)<|box_end|>", (20, 20, 60, 40)),
        ("qwen2_vl", "the dog (100, 200) , (300,400) and (1,2),(3,4)", (20, 20, 60, 40)),
        ("qwen2_vl", "(100,200) to (300,400)", (20, 20, 60, 40)),
        ("qwen3_vl", '[{"bbox_2d": [100, 200, 300, 400], "label": "x"}]', (20, 20, 60, 40)),
        ("qwen3_vl", "[100, 200, 300, 400]", (20, 20, 60, 40)),
        (
            "gemma4",
            '```json\n[{"box_2d": [200, 100, 400, 300], "label": "x"}]\n```',
            (20, 20, 60, 40),
        ),
        (
            "normalised_1000",
            "<think>is it [1, 2, 3, 4]?</think><answer>At "
            "<|begin_of_box|>[[100, 200, 300, 400]]<|end_of_box|>.</answer>",
            (20, 20, 60, 40),
        ),
        ("normalised_1000", "<ref>x</ref><box>[[100, 200, 300, 400]]</box>", (20, 20, 60, 40)),
        ("normalised_1000", "[100,200,300,400]", (20, 20, 60, 40)),
        ("normalised_1000", "[[100, 200, 300, 400], [1, 2, 3, 4]]", (20, 20, 60, 40)),
        ("normalised_1000", "[0.1, 0.2, 0.3, 0.4]", (20, 20, 60, 40)),
        ("normalised_1000", "[0, 1, 1, 1]", (0, 100, 200, 100)),
        ("normalised_1000", "[0, 1, 1, 2]", (0, 0.1, 0.2, 0.2)),
        ("normalised_1000", "[[100, 200], [300, 400]]", (20, 20, 60, 40)),
        ("deepseek_vl2", "<|ref|>x<|/ref|><|det|>[[0, 0, 999, 999]]<|/det|>", (0, 0, 200, 100)),
        ("deepseek_vl2", "x[[333, 333, 666, 666]]", (200 / 3, 100 / 3, 400 / 3, 200 / 3)),
        # 200 x 100: the centre square begins at x = 50, the padded one at y = -50
        ("unit", "[0.1, 0.2, 0.3, 0.4]", (60, 20, 80, 40)),
        ("unit", "[0, 0, 1, 1]", (50, 0, 150, 100)),
        ("unit_padded", "[0.1, 0.3, 0.3, 0.4]", (20, 10, 60, 30)),
        ("unit_whole", "It is at [0.10, 0.20, 0.30, 0.40].", (20, 20, 60, 40)),
        ("unit", "0.1 0.2 0.3 0.4", None),
    ],
)
def test_worked_by_hand(box_format: str, text: str, box: tuple[float, ...] | None) -> None:
    parsed = parse_box(text, box_format, INPUT, ORIGINAL)
    assert parsed == (None if box is None else pytest.approx(box))


@pytest.mark.parametrize("box_format", ["plain", "qwen2_5_vl"])
def test_pixels_of_an_input_of_unknown_size_are_no_box(box_format: str) -> None:
    assert parse_box("[14, 28, 98, 112]", box_format, (0, 0), ORIGINAL) is None


def test_tall_images_are_cut_and_padded_in_the_other_direction() -> None:
    assert parse_box("[0, 0, 1, 1]", "unit", INPUT, (100, 300)) == (0, 100, 100, 200)
    assert parse_box("[0, 0, 1, 1]", "unit_padded", INPUT, (100, 300)) == (-100, 0, 200, 300)


Written = Callable[[list[float]], str]
WRITERS: dict[str, tuple[int, Written]] = {
    "gemma4": (1000, lambda b: '"box_2d": [{1:.0f}, {0:.0f}, {3:.0f}, {2:.0f}]'.format(*b)),
    "qwen2_vl": (1000, lambda b: "({:.0f},{:.0f}),({:.0f},{:.0f})".format(*b)),
    "qwen3_vl": (1000, lambda b: '"bbox_2d": [{:.0f}, {:.0f}, {:.0f}, {:.0f}]'.format(*b)),
    "normalised_1000": (1000, lambda b: "[[{:.0f}, {:.0f}, {:.0f}, {:.0f}]]".format(*b)),
    "deepseek_vl2": (999, lambda b: "<|det|>[[{:.0f}, {:.0f}, {:.0f}, {:.0f}]]".format(*b)),
    "unit_whole": (1, lambda b: "[{:.3f}, {:.3f}, {:.3f}, {:.3f}]".format(*b)),
}
fractions = st.floats(0.01, 1, allow_nan=False)


@given(
    box_format=st.sampled_from(sorted(WRITERS)),
    corners=st.tuples(*[fractions] * 4),
    size=st.tuples(st.integers(28, 4000), st.integers(28, 4000)),
)
def test_a_written_box_is_read_back(
    box_format: str, corners: tuple[float, ...], size: tuple[int, int]
) -> None:
    units, write = WRITERS[box_format]
    box = parse_box(write([units * corner for corner in corners]), box_format, INPUT, size)
    assert box is not None
    for corner, pixel, length in zip(corners, box, (*size, *size), strict=True):
        assert pixel == pytest.approx(corner * length, abs=0.00052 * length)


@given(box_format=st.sampled_from(["unit", "unit_padded"]), inside=st.tuples(*[fractions] * 4))
def test_fractions_of_a_square_image_are_those_of_the_whole(
    box_format: str, inside: tuple[float, ...]
) -> None:
    text = "[{:.3f}, {:.3f}, {:.3f}, {:.3f}]".format(*inside)
    square = (500, 500)
    whole = parse_box(text, "unit_whole", INPUT, square)
    assert parse_box(text, box_format, INPUT, square) == whole


parts = ["(", ")", "[", "[[", "]", ",", " ", "1", "-2", "0.5", "9" * 400, '"bbox_2d": [', "1,2,3,4"]
replies = st.text() | st.lists(st.sampled_from([*parts, "(1,2),(3,4)", "<|det|>"])).map("".join)


@given(text=replies, box_format=st.sampled_from(sorted(BOX_FORMATS)))
def test_any_text_gives_a_finite_box_or_none(text: str, box_format: str) -> None:
    box = parse_box(text, box_format, INPUT, ORIGINAL)
    assert box is None or (len(box) == 4 and all(math.isfinite(value) for value in box))
