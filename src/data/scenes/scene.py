"""The symbolic scene: which things lie where, and to which split the scene belongs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np

T = TypeVar("T")

COLOURS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "white")
SHAPES = ("circle", "square", "triangle", "diamond", "star", "cross")
SIDES = {"small": (35, 42), "large": (56, 63, 70, 77)}
"""Sides of a thing in pixels; the two sizes differ by at least 14 px."""

BIN = 7
"""Every box coordinate is a multiple of this many pixels."""
TOKEN = 28
"""Image sides are multiples of this many pixels: one visual token of Qwen2.5-VL."""

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class Thing:
    """One coloured shape that touches all four sides of its box.

    Attributes:
        size: "small" or "large".
        box: `(x1, y1, x2, y2)` in pixels, `x2` and `y2` exclusive.
    """

    size: str
    colour: str
    shape: str
    box: tuple[int, int, int, int]

    @property
    def centre(self) -> tuple[float, float]:
        """Centre of the box, `(x, y)` in pixels."""
        x1, y1, x2, y2 = self.box
        return (x1 + x2) / 2, (y1 + y2) / 2


@dataclass(frozen=True, slots=True)
class Scene:
    """Things on a canvas of `width` x `height` pixels; no two boxes overlap."""

    width: int
    height: int
    things: tuple[Thing, ...]

    @property
    def split(self) -> Split:
        """The part of all scenes that this one belongs to."""
        return split_of(self)


def split_of(shown: object) -> Split:
    """Tenths by a hash of what is shown: 1 test, 1 validation, 8 train."""
    digest = hashlib.sha256(repr(shown).encode()).digest()
    match int.from_bytes(digest[:8], "big") % 10:
        case 0:
            return "test"
        case 1:
            return "validation"
        case _:
            return "train"


@dataclass(frozen=True, slots=True)
class Level:
    """How hard scenes are: canvas sides in visual tokens and number of things, both inclusive."""

    tokens: tuple[int, int] = (6, 12)
    things: tuple[int, int] = (3, 6)


BENCHMARK_LEVEL = Level()
"""Sides of 168-336 px (36-144 visual tokens) and 3-6 things."""


def pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    """One of the options, uniformly; a tenth of the time that `rng.choice` takes."""
    return options[int(rng.integers(len(options)))]


def sample_scene(rng: np.random.Generator, split: Split, level: Level = BENCHMARK_LEVEL) -> Scene:
    """A random scene of the split; scenes of other splits are rejected."""
    while True:
        scene = _propose(rng, level)
        if scene is not None and scene.split == split:
            return scene


def _propose(rng: np.random.Generator, level: Level) -> Scene | None:
    """A random scene, or None when the things do not fit on the canvas."""
    width, height = (int(side) * TOKEN for side in rng.integers(*level.tokens, 2, endpoint=True))
    # Few distinct colours and shapes a scene, so that one attribute alone is often ambiguous.
    colours = rng.permutation(COLOURS)[: rng.integers(2, 6)].tolist()
    shapes = rng.permutation(SHAPES)[: rng.integers(2, 5)].tolist()
    things: list[Thing] = []
    for _ in range(rng.integers(*level.things, endpoint=True)):
        size = pick(rng, tuple(SIDES))
        side = pick(rng, SIDES[size])
        box = _free_box(rng, width, height, side, things)
        if box is None:
            return None
        things.append(Thing(size, pick(rng, colours), pick(rng, shapes), box))
    return Scene(width, height, tuple(things))


def _free_box(
    rng: np.random.Generator, width: int, height: int, side: int, things: list[Thing]
) -> tuple[int, int, int, int] | None:
    """A square box that overlaps no thing, or None when 20 attempts did not find one."""
    for _ in range(20):
        x1 = int(rng.integers(0, (width - side) // BIN, endpoint=True)) * BIN
        y1 = int(rng.integers(0, (height - side) // BIN, endpoint=True)) * BIN
        x2, y2 = x1 + side, y1 + side
        others = (thing.box for thing in things)
        if all(x2 <= ox1 or ox2 <= x1 or y2 <= oy1 or oy2 <= y1 for ox1, oy1, ox2, oy2 in others):
            return x1, y1, x2, y2
    return None
