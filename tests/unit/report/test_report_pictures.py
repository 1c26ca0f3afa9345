"""Overlays, gallery and plots."""

from __future__ import annotations

from collections.abc import Callable
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
from PIL import Image

from ivcprune.report.comparison import compare
from ivcprune.report.gallery import draw_gallery
from ivcprune.report.overlay import PREDICTED_COLOUR, TRUE_COLOUR, dim_dropped, draw_overlay
from ivcprune.report.plots import draw_plots, separate
from ivcprune.runs.read import Run

MakeRun = Callable[..., Run]


def test_dropped_cells_are_grey_and_kept_cells_untouched() -> None:
    image = Image.new("RGB", (40, 20), "red")
    result = np.asarray(dim_dropped(image, np.array([[True, False]])))
    assert (result[:, :20] == (255, 0, 0)).all()
    right = result[:, 20:]
    assert (right[..., 0] == right[..., 1]).all()
    assert (right[..., 1] == right[..., 2]).all()


def test_cells_lie_where_the_model_looks() -> None:
    """The middle third of a wide image, of which the right half is dropped."""
    image = Image.new("RGB", (60, 20), "red")
    middle = (1 / 3, 0.0, 2 / 3, 1.0)
    result = np.asarray(dim_dropped(image, np.array([[True, False]]), middle))
    kept = (result == (255, 0, 0)).all(axis=(0, 2))
    assert kept.nonzero()[0].tolist() == list(range(20, 30))


def test_cells_of_the_padding_are_out_of_the_picture() -> None:
    image = Image.new("RGB", (40, 20), "red")
    keep = np.array([[True, True], [True, True], [False, True], [True, True]])
    result = np.asarray(dim_dropped(image, keep, (0.0, -0.5, 1.0, 1.5)))
    kept = (result == (255, 0, 0)).all(axis=2)
    assert kept[:10].all(axis=1)[0:9].all()
    assert kept[11:, 21:].all()
    assert not kept[11:, :20].any()


def test_boxes_are_scaled_from_the_original_image() -> None:
    entry = {"maps": [], "true_box": [10, 10, 40, 30], "predicted_box": [60, 10, 90, 30]}
    image = draw_overlay(Image.new("RGB", (100, 50), "white"), entry, side=200)
    assert image.size == (200, 100)
    assert image.getpixel((20, 40)) == TRUE_COLOUR
    assert image.getpixel((120, 40)) == PREDICTED_COLOUR
    assert image.getpixel((60, 40)) == (255, 255, 255)


def test_overlay_takes_reversed_and_missing_boxes() -> None:
    entry = {"maps": [], "true_box": None, "predicted_box": [40, 30, 10, 10]}
    image = draw_overlay(Image.new("L", (50, 100), 255), entry, side=100)
    assert image.size == (50, 100)
    assert image.getpixel((10, 20)) == PREDICTED_COLOUR


def test_gallery_shows_the_same_samples_for_all_policies(make_run: MakeRun) -> None:
    (comparison,) = compare([make_run("none"), make_run("fastv"), make_run("random", errors=1)])
    gallery = draw_gallery(comparison, count=2)
    # Sample 0 failed in one run; the tasks take turns.
    assert [exhibit.sample_id for exhibit in gallery] == ["scenes-test-0001", "scenes-test-0002"]
    assert [exhibit.task for exhibit in gallery] == ["vqa", "grounding"]
    assert [tile.policy for tile in gallery[0].tiles] == [e.label for e in comparison.entries]
    assert gallery[0].tiles[0].kept == "48 of 48 tokens"
    assert gallery[0].tiles[1].kept == "24 of 48 tokens"


def test_gallery_is_empty_without_token_maps(make_run: MakeRun) -> None:
    (comparison,) = compare([make_run("none"), make_run("fastv", overlays=0)])
    assert draw_gallery(comparison, count=3) == []


def test_labels_are_separated_and_stay_below_the_top() -> None:
    assert separate([1.0, 5.0], gap=1.0, top=9.0) == [1.0, 5.0]
    assert separate([1.0, 1.0, 1.5], gap=1.0, top=9.0) == [1.0, 2.0, 3.0]
    assert separate([1.0, 8.5, 9.0], gap=1.0, top=9.0) == [1.0, 8.0, 9.0]
    assert separate([], gap=1.0, top=9.0) == []


def test_plots_name_every_policy_and_leave_settings_alone(make_run: MakeRun) -> None:
    names = ("none", "ivc_prune", "fastv", "random")
    (comparison,) = compare([make_run(name) for name in names])
    before = dict(mpl.rcParams)
    plots = draw_plots(comparison)
    assert dict(mpl.rcParams) == before
    assert [plot.title for plot in plots] == ["grounding", "vqa"]
    text = " ".join(ElementTree.fromstring(plots[0].svg).itertext())
    assert all(name in text for name in ("vanilla", *names[1:]))
    assert "currentColor" in plots[0].svg
    assert draw_plots(comparison) == plots
