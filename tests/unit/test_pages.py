"""Pages with text: what a seed generates, how it is drawn, and the metric of what is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ivcprune.data.scenes import load_scenes
from ivcprune.data.scenes.drawing import draw
from ivcprune.data.scenes.glyphs import CHARACTERS, GLYPHS
from ivcprune.data.scenes.pages import DENSITIES, LENGTHS, Layout, Page, Writing, sample_page
from ivcprune.data.scenes.reading import look_up, read
from ivcprune.data.scenes.scene import Scene, Thing
from ivcprune.data.sources import PagesSource
from ivcprune.metrics.figures import ScoredSample, evaluate
from ivcprune.metrics.strings import STRINGS, strings_in_order

LAYOUTS: tuple[Layout, ...] = ("read", "lookup")


def pages(layout: Layout, count: int = 40) -> list[Page]:
    rng = np.random.default_rng(4)
    return [sample_page(rng, "train", layout) for _ in range(count)]


def test_no_two_glyphs_are_alike() -> None:
    assert len(CHARACTERS) == 36
    assert {glyph.shape for glyph in GLYPHS.values()} == {(7, 5)}
    drawn = list(GLYPHS.values())
    apart = min(int((a != b).sum()) for i, a in enumerate(drawn) for b in drawn[:i])
    assert apart >= 2


@pytest.mark.parametrize("layout", LAYOUTS)
def test_writings_lie_in_the_page_apart_from_all_else(layout: Layout) -> None:
    for page in pages(layout):
        ink = np.zeros((336, 336), dtype=int)
        for x1, y1, x2, y2 in (
            *(w.box for w in page.writings),
            *(t.box for t in page.scene.things),
        ):
            assert 0 <= x1 < x2 <= 336
            assert 0 <= y1 < y2 <= 336
            ink[y1:y2, x1:x2] += 1
        assert ink.max() == 1
        assert {len(w.text) for w in page.writings} <= set(LENGTHS)
        assert len({w.text for w in page.writings}) == len(page.writings)
        places = [(w.y, w.x) for w in page.writings]
        assert places == sorted(places)
        least, most = DENSITIES[layout][page.density]
        assert least <= len(page.writings) <= most
        for writing in page.writings:
            word, rest = writing.text[0], writing.text[1:]
            assert word.isalpha()
            assert rest.isalpha() or rest.isdigit()


def test_the_label_of_a_thing_is_the_writing_at_its_right() -> None:
    rng = np.random.default_rng(0)
    for page in pages("lookup"):
        question = look_up(rng, page)
        named = question.text.removeprefix("what is written beside the ").removesuffix("?")
        (thing,) = [t for t in page.scene.things if f"{t.colour} {t.shape}" == named]
        right = [
            w
            for w in page.writings
            if w.x >= thing.box[2]
            and w.y <= thing.centre[1] <= w.y + 28
            and w.x - thing.box[2] <= 14
        ]
        assert [w.text for w in right] == [question.answer]


def test_all_of_a_page_is_read_from_top_to_bottom() -> None:
    rng = np.random.default_rng(0)
    for page in pages("read"):
        heights = {w.text: w.y for w in page.writings}
        said = read(rng, page).answer.split()
        assert sorted(said, key=heights.__getitem__) == said
        assert set(said) == set(heights)


def test_ink_lies_where_the_dots_are() -> None:
    thing = Thing("small", "red", "star", (0, 0, 35, 35))
    writings = (Writing("L", "large", 112, 28), Writing("L", "small", 112, 112))
    page = np.asarray(draw(Scene(336, 336, (thing,)), np.random.default_rng(0), writings))
    light = page.min(2) > 180
    # An L has 6 dots at its left and 5 at its bottom: 11 of 3 x 3 and 11 of 2 x 2 pixels.
    assert light[28:56, 112:140].sum() == 99
    assert light[112:140, 112:126].sum() == 44
    assert light[56:].sum() == 44
    # 15 x 21 pixels in the middle of 28 x 28
    assert light[28 + 3, 112 + 6]
    assert not light[28 + 2, 112 + 6]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_pages_are_canonical_samples(tmp_path: Path, layout: Layout) -> None:
    content = f"scenes_{layout}"
    rows = PagesSource(content, "validation", size=4, layout=layout).load(tmp_path)
    assert rows["id"] == [f"{content}-validation-{i:06d}" for i in range(4)]
    assert all(row["images"][0].size == (336, 336) for row in rows)
    assert all(len(row["answers"][0].split()) == len(row["boxes"]) for row in rows)
    again = load_scenes("validation", 3, 0, tmp_path, content)  # type: ignore[arg-type]
    assert again["answers"] == rows["answers"][:3]
    assert load_scenes("test", 3, 0, tmp_path, content)["answers"] != again["answers"]  # type: ignore[arg-type]


def test_unknown_layouts_and_contents_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"data\.layout.*lookup"):
        PagesSource(layout="text")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"data\.content.*scenes_lookup"):
        load_scenes(content="text", cache_dir=tmp_path)  # type: ignore[arg-type]


def test_a_string_too_many_costs_nothing_but_itself() -> None:
    assert strings_in_order(["k4", "x9", "ab"], ["k4", "ab"]) == 2
    assert strings_in_order(["ab", "k4"], ["k4", "ab"]) == 1
    assert strings_in_order([], ["k4"]) == 0


def test_strings_characters_and_pages() -> None:
    def sample(number: int, parsed: str, answer: str, score: float | None = 1.0) -> ScoredSample:
        return ScoredSample(str(number), "", "dense", parsed, [answer], score)

    samples = [
        sample(0, "k4 ab", "K4 AB"),
        sample(1, "k4 a8 xyz", "K4 AB XYZ"),  # one of 7 characters and one of 3 strings is wrong
        sample(2, "", "AB", 0.0),
        sample(3, "aaaaaaaaaa", "AB", 0.0),  # 9 edits: no less than nothing of 2 characters
        sample(4, "", "AB", None),
    ]
    scores = evaluate(STRINGS, samples, resamples=20).scores
    assert scores["strings"]["value"] == pytest.approx(100 * 4 / 7)
    assert scores["strings"]["n"] == 7
    assert scores["characters"]["value"] == pytest.approx(100 * (4 + 6) / 15)
    assert scores["pages"]["value"] == pytest.approx(25)
    assert list(scores) == ["strings", "characters", "pages"]


@pytest.mark.parametrize("said", ["k4\nab", "k4  ab", "k4\tab\n"])
def test_a_page_may_be_read_line_by_line(said: str) -> None:
    sample = ScoredSample("0", "", "dense", said, ["K4 AB"], 1.0)
    scores = evaluate(STRINGS, [sample], resamples=20).scores
    assert [scores[name]["value"] for name in ("strings", "characters", "pages")] == [100.0] * 3
