"""The benchmark `scenes`: what a seed generates, whether answers are right, and its cache."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from ivcprune.data.sample import FEATURES, Sample
from ivcprune.data.scenes import load_scenes
from ivcprune.data.scenes.dataset import make_row
from ivcprune.data.scenes.drawing import draw
from ivcprune.data.scenes.expressions import Expression
from ivcprune.data.scenes.questions import PLURALS, Question, ask, ground
from ivcprune.data.scenes.scene import SHAPES, SPLITS, Scene, Thing, sample_scene


def scenes(count: int, split: str = "train") -> list[Scene]:
    rng = np.random.default_rng(7)
    return [sample_scene(rng, split) for _ in range(count)]  # type: ignore[arg-type]


def referents(scene: Scene, expression: Expression) -> list[int]:
    """All things that an expression can mean, worked out from boxes without the generator."""
    named = [
        i
        for i, thing in enumerate(scene.things)
        if expression.size in (None, thing.size)
        and expression.colour in (None, thing.colour)
        and expression.shape in (None, thing.shape)
    ]
    x = [thing.box[0] + thing.box[2] for thing in scene.things]
    y = [thing.box[1] + thing.box[3] for thing in scene.things]
    match expression.extreme:
        case "leftmost":
            return [i for i in named if x[i] == min(x[j] for j in named)]
        case "rightmost":
            return [i for i in named if x[i] == max(x[j] for j in named)]
        case "topmost":
            return [i for i in named if y[i] == min(y[j] for j in named)]
        case "bottommost":
            return [i for i in named if y[i] == max(y[j] for j in named)]
    if expression.relation is None:
        return named
    assert expression.anchor is not None
    (anchor,) = referents(scene, expression.anchor)
    inside = {
        "left of": lambda i: x[i] < x[anchor],
        "right of": lambda i: x[i] > x[anchor],
        "above": lambda i: y[i] < y[anchor],
        "below": lambda i: y[i] > y[anchor],
    }[expression.relation]
    return [i for i in named if i != anchor and inside(i)]


def right_answer(scene: Scene, question: Question) -> str:
    """The answer to a question of the kinds `exists` and `count`, from its words alone."""
    words = question.text.rstrip("?").split()
    singular = {plural: shape for shape, plural in PLURALS.items()}
    nouns = {singular.get(word, word) for word in words}
    count = 0
    for thing in scene.things:
        shape_fits = thing.shape in nouns or not nouns & set(SHAPES)
        colour_fits = thing.colour in nouns or not nouns & COLOUR_WORDS
        size_fits = thing.size in nouns or not nouns & {"small", "large"}
        count += shape_fits and colour_fits and size_fits
    if question.category == "count":
        return str(count)
    return "yes" if count else "no"


COLOUR_WORDS = {"red", "orange", "yellow", "green", "cyan", "blue", "purple", "white"}


def test_things_lie_on_the_grid_inside_the_canvas_and_apart() -> None:
    for scene in scenes(60):
        assert scene.width % 28 == scene.height % 28 == 0
        assert 168 <= scene.width <= 336
        assert 168 <= scene.height <= 336
        assert 3 <= len(scene.things) <= 6
        covered = np.zeros((scene.height, scene.width), dtype=int)
        for thing in scene.things:
            x1, y1, x2, y2 = thing.box
            assert 0 <= x1 < x2 <= scene.width
            assert 0 <= y1 < y2 <= scene.height
            assert all(edge % 7 == 0 for edge in thing.box)
            covered[y1:y2, x1:x2] += 1
        assert covered.max() == 1


def test_every_expression_has_exactly_one_referent() -> None:
    rng = np.random.default_rng(0)
    seen = set()
    for scene in scenes(150):
        question = ground(rng, scene)
        assert question.expression is not None
        (referent,) = referents(scene, question.expression)
        assert question.answer.split() == [str(edge) for edge in scene.things[referent].box]
        assert question.text == str(question.expression)
        seen.add(question.category)
    assert seen == {"attribute", "size", "superlative", "relation"}


def test_every_answer_is_right_and_one_word() -> None:
    rng = np.random.default_rng(1)
    seen = set()
    for scene in scenes(150):
        question = ask(rng, scene)
        seen.add(question.category)
        assert len(question.answer.split()) == 1
        if question.expression is None:
            assert question.answer == right_answer(scene, question)
        else:
            (referent,) = referents(scene, question.expression)
            assert question.answer == getattr(scene.things[referent], question.category)
            assert question.answer not in question.text.split()
    assert seen == {"exists", "count", "colour", "shape"}


def test_text_of_expressions() -> None:
    anchor = Expression(colour="blue", shape="square")
    related = Expression(size="small", relation="left of", anchor=anchor)
    assert str(related) == "the small object left of the blue square"
    assert str(Expression(shape="star", extreme="topmost")) == "the topmost star"


@pytest.mark.parametrize("shape", SHAPES)
def test_a_drawn_thing_touches_all_sides_of_its_box(shape: str) -> None:
    box = (21, 35, 77, 91)
    scene = Scene(168, 196, (Thing("large", "white", shape, box),))
    image = np.asarray(draw(scene, np.random.default_rng(0)))
    ys, xs = np.nonzero(image.min(axis=2) > 180)  # the background stays below, white above
    assert image.shape == (196, 168, 3)
    assert (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1) == box


def test_splits_are_disjoint_by_construction() -> None:
    for split in SPLITS:
        assert {scene.split for scene in scenes(10, split)} == {split}


def test_the_split_of_a_scene_never_changes() -> None:
    """A published test set must stay what it is on every machine and Python version."""
    things = [Thing("small", "red", "star", (x, 7, x + 35, 42)) for x in range(0, 140, 7)]
    splits = "".join(Scene(196, 168, (thing,)).split[1] for thing in things)
    assert splits == "rrrerraarrarrrrrrrrr"


def test_a_row_depends_on_split_index_and_seed_only() -> None:
    row = make_row("test", 5, seed=0)
    assert make_row("test", 5, seed=0) == row
    assert make_row("test", 5, seed=1)["images"] != row["images"]
    assert make_row("train", 5, seed=0)["images"] != row["images"]


def test_the_dataset_is_canonical_and_alternates_tasks(tmp_path: Path) -> None:
    dataset = load_scenes("test", size=6, seed=0, cache_dir=tmp_path)
    samples = [Sample.from_row(row) for row in dataset]
    assert dataset.features == FEATURES
    assert [sample.task for sample in samples] == ["grounding", "vqa"] * 3
    assert [sample.id for sample in samples][:2] == [
        "scenes-test-000000-grounding",
        "scenes-test-000001-vqa",
    ]
    for sample in samples:
        (image,) = sample.images
        assert image.size == (sample.width, sample.height)
        assert len(sample.boxes) == (sample.task == "grounding")
        assert len(sample.answers) == (sample.task == "vqa")


def test_the_cache_is_drawn_once(tmp_path: Path) -> None:
    load_scenes("test", size=2, seed=0, cache_dir=tmp_path)
    (parquet,) = tmp_path.glob("scenes-*/samples.parquet")
    written = parquet.stat().st_mtime_ns
    load_scenes("test", size=2, seed=0, cache_dir=tmp_path)
    assert parquet.stat().st_mtime_ns == written
    load_scenes("test", size=2, seed=3, cache_dir=tmp_path)
    assert len(list(tmp_path.glob("scenes-*"))) == 2


def test_two_processes_may_draw_the_same_samples_at_once(tmp_path: Path) -> None:
    with ProcessPoolExecutor(2, mp_context=get_context("fork")) as pool:
        jobs = [pool.submit(_ids, tmp_path) for _ in range(2)]
        first, second = (job.result() for job in jobs)
    assert first == second
    assert len(first) == 12
    assert [path.name for path in tmp_path.iterdir()] == ["scenes-v3-test-12-seed0"]


def _ids(cache_dir: Path) -> list[str]:
    return list(load_scenes("test", size=12, seed=0, cache_dir=cache_dir)["id"])


def test_wrong_arguments_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"data\.split is 'val'"):
        load_scenes("val", size=2, cache_dir=tmp_path)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"data\.size is 0"):
        load_scenes("test", size=0, cache_dir=tmp_path)
