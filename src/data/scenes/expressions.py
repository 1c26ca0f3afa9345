"""Referring expressions with exactly one referent in their scene."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from .scene import Scene, Thing, pick

MARGIN = 14.0
"""Centres must differ by this many pixels for one thing to be left of (above, ...) another."""

DIRECTIONS = {"left of": (0, -1), "right of": (0, 1), "above": (1, -1), "below": (1, 1)}
"""Relation -> axis of the centre (0 = x, 1 = y) and the sign that it asks for."""
EXTREMES = {
    "leftmost": "left of",
    "rightmost": "right of",
    "topmost": "above",
    "bottommost": "below",
}
"""Superlative -> the relation that its referent has to every other candidate."""


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


def offset(thing: Thing, relation: str, anchor: Thing) -> float:
    """How far the thing's centre lies in the relation's direction from the anchor's, in pixels."""
    axis, sign = DIRECTIONS[relation]
    return sign * (thing.centre[axis] - anchor.centre[axis])


def matching(scene: Scene, expression: Expression) -> tuple[int, ...]:
    """Indices of the things with the attributes that the expression names."""
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
    if expression == Expression() or matching(scene, expression) != (index,):
        return None
    return expression, index


def _size(rng: np.random.Generator, scene: Scene) -> Referent | None:
    """The size singles the thing out among those of the same colour and / or shape."""
    index = int(rng.integers(len(scene.things)))
    thing = scene.things[index]
    pool = _describe(rng, thing, ("colour", "shape"))
    expression = replace(pool, size=thing.size)
    if len(matching(scene, pool)) < 2 or matching(scene, expression) != (index,):
        return None
    return expression, index


def _superlative(rng: np.random.Generator, scene: Scene) -> Referent | None:
    """The leftmost (topmost, ...) of at least two candidates, by a clear margin."""
    index = int(rng.integers(len(scene.things)))
    thing = scene.things[index]
    pool = _describe(rng, thing, ("colour", "shape"))
    extreme = pick(rng, tuple(EXTREMES))
    others = [scene.things[i] for i in matching(scene, pool) if i != index]
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
    candidates = [i for i in matching(scene, pool) if i != anchor_index]
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
