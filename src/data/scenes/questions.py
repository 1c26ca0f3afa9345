"""Questions about a scene, each with one certain answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np

from .expressions import REFERRING, Expression, matching
from .scene import COLOURS, SHAPES, SIDES, Scene, pick

PLURALS = {shape: f"{shape}s" for shape in SHAPES} | {"cross": "crosses"}
ATTEMPTS = 30
"""How often a category is tried on a scene before another category is drawn."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question about one scene or page.

    Attributes:
        task: the metric's: "grounding" or "vqa"; "ocr_contains" where all of a page is read.
        category: what kind of question it is, for reporting.
        text: the expression or the question.
        answer: the word that answers it; the box as `x1 y1 x2 y2` for grounding.
        targets: indices of the things that the answer rests on; the referent for grounding.
        expression: symbolic form where the text holds a referring expression.
        spelled: indices of the writings of which the answer consists.
    """

    task: str
    category: str
    text: str
    answer: str
    targets: tuple[int, ...]
    expression: Expression | None = None
    spelled: tuple[int, ...] = ()


def ground(rng: np.random.Generator, scene: Scene) -> Question:
    """A referring expression with exactly one referent, of a random category."""
    while True:
        category = pick(rng, tuple(REFERRING))
        for _ in range(ATTEMPTS):
            if found := REFERRING[category](rng, scene):
                expression, index = found
                answer = " ".join(map(str, scene.things[index].box))
                return Question(
                    "grounding", category, str(expression), answer, (index,), expression
                )


def _exists(rng: np.random.Generator, scene: Scene) -> Question:
    """Yes and no are equally frequent; most absent things have a colour and a shape that occur."""
    present = [(thing.colour, thing.shape) for thing in scene.things]
    absent = [pair for pair in product(COLOURS, SHAPES) if pair not in present]
    colours, shapes = zip(*present, strict=True)
    near = [pair for pair in absent if pair[0] in colours and pair[1] in shapes]
    wanted = bool(rng.random() < 0.5)
    if not wanted and near and rng.random() < 0.7:
        absent = near
    colour, shape = pick(rng, present if wanted else absent)
    article = "an" if colour == "orange" else "a"
    text = f"is there {article} {colour} {shape}?"
    targets = matching(scene, Expression(colour=colour, shape=shape))
    return Question("vqa", "exists", text, "yes" if wanted else "no", targets)


def _count(rng: np.random.Generator, scene: Scene) -> Question:
    """Numbers are drawn first, so that large counts are not rare."""
    pools = [Expression(), *(Expression(size=size) for size in SIDES)]
    pools += [Expression(colour=colour) for colour in COLOURS]
    pools += [Expression(shape=shape) for shape in SHAPES]
    by_count: dict[int, list[Expression]] = {}
    for pool in pools:
        if count := len(matching(scene, pool)):
            by_count.setdefault(count, []).append(pool)
    count = pick(rng, sorted(by_count))
    pool = pick(rng, by_count[count])
    noun = PLURALS[pool.shape] if pool.shape else "objects"
    words = ("how", "many", pool.size, pool.colour, noun, "are", "there?")
    text = " ".join(word for word in words if word)
    return Question("vqa", "count", text, str(count), matching(scene, pool))


def _colour(rng: np.random.Generator, scene: Scene) -> Question | None:
    asked = ground(rng, scene)
    if asked.expression is None or asked.expression.colour:
        return None
    answer = scene.things[asked.targets[0]].colour
    text = f"what colour is {asked.text}?"
    return Question("vqa", "colour", text, answer, asked.targets, asked.expression)


def _shape(rng: np.random.Generator, scene: Scene) -> Question | None:
    asked = ground(rng, scene)
    if asked.expression is None or asked.expression.shape:
        return None
    answer = scene.things[asked.targets[0]].shape
    text = f"what shape is {asked.text}?"
    return Question("vqa", "shape", text, answer, asked.targets, asked.expression)


ASKING: dict[str, Callable[[np.random.Generator, Scene], Question | None]] = {
    "exists": _exists,
    "count": _count,
    "colour": _colour,
    "shape": _shape,
}
"""Category of a question -> one attempt at finding one."""


def ask(rng: np.random.Generator, scene: Scene) -> Question:
    """A question with a one-word answer, of a random category."""
    while True:
        category = pick(rng, tuple(ASKING))
        for _ in range(ATTEMPTS):
            if found := ASKING[category](rng, scene):
                return found
