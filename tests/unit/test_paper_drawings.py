"""Figures 3 and 4: the layouts that are drawn are those of the families."""

from __future__ import annotations

import pytest
import torch

from ivcprune.report.paper.drawings import Layout, draw, figure_of
from ivcprune.report.paper.published import read_content
from ivcprune.selectors import decision
from ivcprune.selectors.coordinates import coordinate_scores

LAYOUTS = {
    model: Layout(**{**settings, "grid": tuple(settings["grid"])})
    for model, settings in read_content("fig4.yaml")["layouts"].items()
}


@pytest.mark.parametrize(
    ("model", "tokens", "special"),
    [
        ("qwen2_5_vl_7b", 17 * 23, 0),
        ("internvl2_5_8b", 7 * 256, 0),
        ("deepseek_vl2_small", 14 * 15 + 1 + 28 * 29, 14 + 1 + 28),
        ("llava_1_5_7b", 576, 0),
    ],
)
def test_numbers_of_tokens(model: str, tokens: int, special: int) -> None:
    laid_out = LAYOUTS[model].tokens()
    assert sum(laid_out.count) == tokens
    assert int((laid_out.special & laid_out.valid).sum()) == special


def test_positions_on_three_axes() -> None:
    """Row 2, column 3 of a picture behind 15 text tokens: t = 15, h = 17, w = 18."""
    tokens = LAYOUTS["qwen2_5_vl_7b"].tokens()
    assert tokens.positions[:, 0, 2 * 23 + 3].tolist() == [15, 17, 18]


def test_positions_on_one_axis() -> None:
    tokens = LAYOUTS["llava_1_5_7b"].tokens()
    assert tokens.positions[0, 0].tolist() == list(range(35, 35 + 576))


def test_coordinates_are_chosen_in_each_tile_and_each_line() -> None:
    tokens = LAYOUTS["internvl2_5_8b"].tokens()
    kept = decision(LAYOUTS["internvl2_5_8b"].coordinates, tokens).keep.sum(dim=1)
    assert ((kept > 26) & (kept <= 52)).all()  # 26 of 256 by V, 26 by U
    tokens = LAYOUTS["deepseek_vl2_small"].tokens()
    kept = decision(LAYOUTS["deepseek_vl2_small"].coordinates, tokens).keep
    canvas = max(range(len(tokens.rows)), key=lambda row: tokens.count[row])
    lines = tokens.cell[canvas, :, 0][kept[canvas] & tokens.valid[canvas]]
    assert set(lines.tolist()) == set(range(28))


def test_scores_at_position_zero_are_those_of_the_identity() -> None:
    """V(0) = d / 2 and U(0) = 0 (Eq. 5 and 7)."""
    layout = Layout("", "image", (2, 2), head_dim=8)
    real, imaginary = coordinate_scores(layout.tokens().positions, layout.tokens().inv_freq)
    assert real[0, 0] == 4.0
    assert imaginary[0, 0] == 0.0
    assert torch.all(real[0, 1:] < 4.0)


def test_pictures_are_made_without_and_with_scores() -> None:
    layout = Layout("", "lines", (1, 1))
    plain, scored = draw(layout, scores=False), draw(layout, scores=True)
    assert plain.startswith(b"\x89PNG")
    assert scored.startswith(b"\x89PNG")
    assert plain != scored


def test_scores_have_scales_and_squares_a_legend() -> None:
    """Two panels with a colour bar each; red squares are told only where there are any."""
    figure = figure_of(Layout("A model", "lines", (1, 1)), scores=True)
    labels = [axes.get_ylabel() for axes in figure.axes]
    assert [label for label in labels if label] == ["Σ cos(mθ), no unit"] * 2 + [
        "Σ sin(mθ), no unit"
    ] * 2
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "implicit coordinates",
        "tokens without a place in the picture",
    ]
    (legend,) = figure_of(Layout("", "image", (2, 2)), scores=False).legends
    assert [text.get_text() for text in legend.get_texts()] == ["visual tokens"]
