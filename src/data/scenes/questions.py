"""Referring expressions and questions about a scene, each with one certain answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from .scene import COLOURS, SHAPES, SIDES, Scene, Thing, pick

MARGIN = 14.0
"""Centres must differ by this many pixels for one thing to be left of (above, ...) another."""

ATTEMPTS = 30
"""How often a category is tried on a scene before another category is drawn."""

DIRECTIONS = {"left of": (0, -1), "right of": (0, 1), "above": (1, -1), "below": (1, 1)}
"""Relation -> axis of the centre (0 = x, 1 = y) and the sign that it asks for."""
EXTREMES = {
    "leftmost": "left of",
    "rightmost": "right of",
    "topmost": "above",
    "bottommost": "below",
}
"""Superlative -> the relation that its referent has to every other candidate."""
PLURALS = {shape: f"{shape}s" for shape in SHAPES} | {"cross": "crosses"}


@dataclass(frozen=True, slots=True)
class Expression:
    """A referring expression; attributes that are None do not restrict it."""

    size: str | None = None
    colour: str | None = None
    shape: str | None = None
    extreme: str | None = None
    relation: str | None = None
    anchor: Expression | None = None

    def __str__(self) -> str:
        words = ["the", self.extreme, self.size, self.colour, self.shape or "object"]
        if self.relation:
            words += [self.relation, str(self.anchor)]
        return " ".join(word for word in words if word)

    def matches(self, thing: Thing) -> bool:
        """Whether the thing has the named size, colour and shape."""
        return all(
            wanted in (None, actual)
            for wanted, actual in (
                (self.size, thing.size),
                (self.colour, thing.colour),
                (self.shape, thing.shape),
            )
        )


@dataclass(frozen=True, slots=True)
class Question:
    """A question about one scene.

    Attributes:
        task: "grounding" or "vqa".
        category: what kind of question it is, for reporting.
        text: the expression or the question.
        answer: the word that answers it; the box as `x1 y1 x2 y2` for grounding.
        targets: indices of the things that the answer rests on; the referent for grounding.
        expression: symbolic form where the text holds a referring expression.
    """

    task: str
    category: str
    text: str
    answer: str
    targets: tuple[int, ...]
    expression: Expression | None = None


def offset(thing: Thing, relation: str, anchor: Thing) -> float:
    """How far the thing's centre lies in the relation's direction from the anchor's, in pixels."""
    axis, sign = DIRECTIONS[relation]
    return sign * (thing.centre[axis] - anchor.centre[axis])


def _matching(scene: Scene, expression: Expression) -> tuple[int, ...]:
    return tuple(i for i, thing in enumerate(scene.things) if expression.matches(thing))


def _describe(rng: np.random.Generator, thing: Thing, fields: tuple[str, ...]) -> Expression:
    """The thing named by a random, possibly empty, choice of the fields."""
    named = [field for field in fields if rng.random() < 0.5]
    return Expression(**{field: getattr(thing, field) for field in named})


Referent = tuple[Expression, int]


def _attribute(rng: np.random.Generator, scene: Scene) -> Referent | None:
    """Colour and / or shape single the thing out."""
    index = int(rng.integers(len(scene.things)))
    expression = _describe(rng, scene.things[index], ("colour", "shape"))
    if expression == Expression() or _matching(scene, expression) != (index,):
        return None
    return expression, index


def _size(rng: np.random.Generator, scene: Scene) -> Referent | None:
    """The size singles the thing out among those of the same colour and / or shape."""
    index = int(rng.integers(len(scene.things)))
    thing = scene.things[index]
    pool = _describe(rng, thing, ("colour", "shape"))
    expression = replace(pool, size=thing.size)
    if len(_matching(scene, pool)) < 2 or _matching(scene, expression) != (index,):
        return None
    return expression, index


def _superlative(rng: np.random.Generator, scene: Scene) -> Referent | None:
    """The leftmost (topmost, ...) of at least two candidates, by a clear margin."""
    index = int(rng.integers(len(scene.things)))
    thing = scene.things[index]
    pool = _describe(rng, thing, ("colour", "shape"))
    extreme = pick(rng, tuple(EXTREMES))
    others = [scene.things[i] for i in _matching(scene, pool) if i != index]
    if not others or any(offset(thing, EXTREMES[extreme], o) < MARGIN for o in others):
        return None
    return replace(pool, extreme=extreme), index


def _relation(rng: np.random.Generator, scene: Scene) -> Referent | None:
    """The only one of several candidates that lies left of (above, ...) a unique anchor."""
    anchored = _attribute(rng, scene)
    if anchored is None:
        return None
    anchor, anchor_index = anchored
    index = int(rng.integers(len(scene.things)))
    pool = _describe(rng, scene.things[index], ("colour", "shape"))
    relation = pick(rng, tuple(DIRECTIONS))
    candidates = [i for i in _matching(scene, pool) if i != anchor_index]
    if index not in candidates or len(candidates) < 2:
        return None
    offsets = {i: offset(scene.things[i], relation, scene.things[anchor_index]) for i in candidates}
    clear = all(abs(value) >= MARGIN for value in offsets.values())
    if not clear or [i for i in candidates if offsets[i] > 0] != [index]:
        return None
    return replace(pool, relation=relation, anchor=anchor), index


REFERRING: dict[str, Callable[[np.random.Generator, Scene], Referent | None]] = {
    "attribute": _attribute,
    "size": _size,
    "superlative": _superlative,
    "relation": _relation,
}
"""Category of a referring expression -> one attempt at finding one."""


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
    targets = _matching(scene, Expression(colour=colour, shape=shape))
    return Question("vqa", "exists", text, "yes" if wanted else "no", targets)


def _count(rng: np.random.Generator, scene: Scene) -> Question:
    """Numbers are drawn first, so that large counts are not rare."""
    pools = [Expression(), *(Expression(size=size) for size in SIDES)]
    pools += [Expression(colour=colour) for colour in COLOURS]
    pools += [Expression(shape=shape) for shape in SHAPES]
    by_count: dict[int, list[Expression]] = {}
    for pool in pools:
        if matching := _matching(scene, pool):
            by_count.setdefault(len(matching), []).append(pool)
    count = pick(rng, sorted(by_count))
    pool = pick(rng, by_count[count])
    noun = PLURALS[pool.shape] if pool.shape else "objects"
    words = ("how", "many", pool.size, pool.colour, noun, "are", "there?")
    text = " ".join(word for word in words if word)
    return Question("vqa", "count", text, str(count), _matching(scene, pool))


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
