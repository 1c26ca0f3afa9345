"""Pages: scenes with strings of capitals and digits, to be read whole or looked up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_uppercase, digits
from typing import Literal

import numpy as np

from .scene import (
    BENCHMARK_LEVEL,
    BIN,
    COLOURS,
    SHAPES,
    SIDES,
    TOKEN,
    Scene,
    Split,
    Thing,
    pick,
    split_of,
)

SIDE = BENCHMARK_LEVEL.tokens[1] * TOKEN
"""Width and height of a page in pixels."""
SLOTS = {"small": TOKEN // 2, "large": TOKEN}
"""Width in pixels of the slot of a character; all slots are 28 px high."""
LENGTHS = (2, 3, 4, 5)
"""Characters of a string."""

Box = tuple[int, int, int, int]

Layout = Literal["read", "lookup"]
DENSITIES: dict[Layout, dict[str, tuple[int, int]]] = {
    "read": {"sparse": (1, 2), "medium": (3, 5), "dense": (6, 8)},
    "lookup": {"few": (2, 3), "many": (4, 6)},
}
"""How many strings a page has, both inclusive, by the category of its questions."""


@dataclass(frozen=True, slots=True)
class Writing:
    """A string of capitals and digits whose slots lie on the lattice of visual tokens.

    Attributes:
        size: "small" (two characters a visual token of 28 px) or "large" (one).
        x, y: top left of the first slot, in pixels.
    """

    text: str
    size: str
    x: int
    y: int

    @property
    def slots(self) -> tuple[Box, ...]:
        """`(x1, y1, x2, y2)` of each character in pixels, exclusive at the end."""
        width = SLOTS[self.size]
        starts = (self.x + i * width for i in range(len(self.text)))
        return tuple((start, self.y, start + width, self.y + TOKEN) for start in starts)

    @property
    def box(self) -> Box:
        """`(x1, y1, x2, y2)` of all slots in pixels."""
        return self.x, self.y, self.slots[-1][2], self.y + TOKEN


@dataclass(frozen=True, slots=True)
class Page:
    """A scene with writings in reading order.

    Attributes:
        density: the category of its questions.
        labels: the writing beside each thing, where the page is for looking up; else empty.
    """

    scene: Scene
    writings: tuple[Writing, ...]
    density: str
    labels: tuple[int, ...] = ()

    @property
    def split(self) -> Split:
        """As a scene's."""
        return split_of(self)


def sample_page(rng: np.random.Generator, split: Split, layout: Layout) -> Page:
    """A random page of the split; pages of other splits are rejected."""
    while True:
        page = (_reading if layout == "read" else _lookup)(rng)
        if page is not None and page.split == split:
            return page


def _reading(rng: np.random.Generator) -> Page | None:
    """Strings one below the other, with one or two things between them."""
    density = pick(rng, tuple(DENSITIES["read"]))
    count = int(rng.integers(*DENSITIES["read"][density], endpoint=True))
    rows = np.sort(rng.permutation(SIDE // TOKEN)[:count]).tolist()
    writings = []
    for text, row in zip(_strings(rng, count), rows, strict=True):
        size = pick(rng, tuple(SLOTS))
        columns = (SIDE - len(text) * SLOTS[size]) // SLOTS[size]
        x = int(rng.integers(columns, endpoint=True)) * SLOTS[size]
        writings.append(Writing(text, size, x, row * TOKEN))
    things: list[Thing] = []
    for _ in range(rng.integers(1, 2, endpoint=True)):
        side = pick(rng, SIDES["small"])
        x, y = (int(start) * BIN for start in rng.integers((SIDE - side) // BIN, size=2))
        box = (x, y, x + side, y + side)
        if not _overlaps(box, [*(t.box for t in things), *(w.box for w in writings)]):
            things.append(Thing("small", pick(rng, COLOURS), pick(rng, SHAPES), box))
    return Page(Scene(SIDE, SIDE, tuple(things)), tuple(writings), density) if things else None


def _lookup(rng: np.random.Generator) -> Page | None:
    """Things that differ in colour or shape, each with a string at its right."""
    density = pick(rng, tuple(DENSITIES["lookup"]))
    count = int(rng.integers(*DENSITIES["lookup"][density], endpoint=True))
    kinds = rng.permutation(len(COLOURS) * len(SHAPES))[:count].tolist()
    taken: list[Box] = []
    labelled: list[tuple[Thing, Writing]] = []
    for text, kind in zip(_strings(rng, count), kinds, strict=True):
        colour, shape = COLOURS[kind // len(SHAPES)], SHAPES[kind % len(SHAPES)]
        found = _labelled(rng, text, colour, shape, taken)
        if found is None:
            return None
        thing, writing = found
        labelled.append(found)
        taken.append((*thing.box[:2], writing.box[2], thing.box[3]))
    labelled.sort(key=lambda pair: (pair[1].y, pair[1].x))
    things, writings = zip(*labelled, strict=True)
    return Page(Scene(SIDE, SIDE, things), writings, density, tuple(range(count)))


def _labelled(
    rng: np.random.Generator, text: str, colour: str, shape: str, taken: Sequence[Box]
) -> tuple[Thing, Writing] | None:
    """A thing with the text at its right, apart from what is there; None after 30 attempts."""
    for _ in range(30):
        size, side = pick(rng, tuple(SLOTS)), pick(rng, SIDES["small"])
        gap = int(rng.integers(1, 2, endpoint=True)) * BIN
        slot = SLOTS[size]
        first = -(-(side + gap) // slot)
        last = SIDE // slot - len(text)
        x = int(rng.integers(first, last, endpoint=True)) * slot
        y = int(rng.integers(1, SIDE // TOKEN - 1)) * TOKEN
        top = y + (TOKEN - side) // 2 // BIN * BIN
        box = (x - gap - side, top, x - gap, top + side)
        writing = Writing(text, size, x, y)
        if not _overlaps((box[0] - BIN, top, writing.box[2], box[3]), taken):
            return Thing("small", colour, shape, box), writing
    return None


def _strings(rng: np.random.Generator, count: int) -> list[str]:
    """Different strings: words of capitals, and codes of a capital and digits, half of each."""
    strings: dict[str, None] = {}
    while len(strings) < count:
        length, alphabet = pick(rng, LENGTHS), pick(rng, (ascii_uppercase, digits))
        rest = "".join(pick(rng, alphabet) for _ in range(length - 1))
        strings[pick(rng, ascii_uppercase) + rest] = None
    return list(strings)


def _overlaps(box: Box, others: Sequence[Box]) -> bool:
    x1, y1, x2, y2 = box
    return any(x1 < ox2 and ox1 < x2 and y1 < oy2 and oy1 < y2 for ox1, oy1, ox2, oy2 in others)
