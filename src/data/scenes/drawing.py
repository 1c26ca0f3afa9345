"""Pixels of a scene: flat shapes with a little colour jitter under noise."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from .glyphs import GLYPHS
from .pages import Writing
from .scene import Scene, Thing

PALETTE = {
    "red": (220, 40, 40),
    "orange": (240, 140, 20),
    "yellow": (235, 225, 50),
    "green": (40, 170, 60),
    "cyan": (50, 210, 220),
    "blue": (50, 80, 225),
    "purple": (150, 50, 180),
    "white": (240, 240, 240),
}
NOISE_BITS = 5
"""The noise on a channel is uniform over 2 ** 5 levels of the 256."""


INK = (225, 256)
"""Grey levels of writing, the second one exclusive."""
SCALES = {"small": 2, "large": 3}
"""Pixels of a glyph's dot."""


def draw(scene: Scene, rng: np.random.Generator, writings: Sequence[Writing] = ()) -> Image.Image:
    """The scene as an RGB image; `rng` decides background, jitter, ink and noise."""
    grey = int(rng.integers(40, 100))
    image = Image.new("RGB", (scene.width, scene.height), (grey, grey, grey))
    canvas = ImageDraw.Draw(image)
    for thing in scene.things:
        jitter = rng.integers(-15, 16, 3)
        red, green, blue = np.clip(np.add(PALETTE[thing.colour], jitter), 0, 255).tolist()
        _draw_thing(canvas, thing, (red, green, blue))
    for writing in writings:
        _write(image, writing, int(rng.integers(*INK)))
    # Random bytes are ten times as fast as `rng.integers`, and drawing happens in every step.
    levels = np.frombuffer(rng.bytes(scene.height * scene.width * 3), np.uint8) % 2**NOISE_BITS
    noise = levels.reshape(scene.height, scene.width, 3).astype(np.int16) - 2 ** (NOISE_BITS - 1)
    return Image.fromarray(np.clip(noise + np.asarray(image), 0, 255).astype(np.uint8))


def _draw_thing(canvas: ImageDraw.ImageDraw, thing: Thing, fill: tuple[int, int, int]) -> None:
    x1, y1, x2, y2 = thing.box
    if thing.shape == "circle":
        canvas.ellipse((x1, y1, x2 - 1, y2 - 1), fill=fill)
        return
    # Pixel indices are inclusive while boxes are exclusive: hence the - 1.
    corners = [(x1 + u * (x2 - x1 - 1), y1 + v * (y2 - y1 - 1)) for u, v in POLYGONS[thing.shape]]
    canvas.polygon(corners, fill=fill)


def _write(image: Image.Image, writing: Writing, grey: int) -> None:
    """Every glyph in the middle of its slot."""
    scale = SCALES[writing.size]
    for character, (x1, y1, x2, y2) in zip(writing.text, writing.slots, strict=True):
        dots = np.kron(GLYPHS[character], np.ones((scale, scale), dtype=np.uint8)) * np.uint8(255)
        height, width = dots.shape
        place = (x1 + (x2 - x1 - width) // 2, y1 + (y2 - y1 - height) // 2)
        image.paste((grey, grey, grey), place, Image.fromarray(dots.astype(np.uint8)))


def _star() -> list[tuple[float, float]]:
    """Corners of a five-pointed star, stretched to the unit square."""
    radii = (1.0, 0.45) * 5
    angles = [math.pi * k / 5 for k in range(10)]
    xs = [r * math.sin(a) for r, a in zip(radii, angles, strict=True)]
    ys = [-r * math.cos(a) for r, a in zip(radii, angles, strict=True)]
    return [
        ((x - min(xs)) / (max(xs) - min(xs)), (y - min(ys)) / (max(ys) - min(ys)))
        for x, y in zip(xs, ys, strict=True)
    ]


_A, _B = 0.32, 0.68  # the arms of the cross
POLYGONS: dict[str, list[tuple[float, float]]] = {
    "square": [(0, 0), (1, 0), (1, 1), (0, 1)],
    "triangle": [(0.5, 0), (1, 1), (0, 1)],
    "diamond": [(0.5, 0), (1, 0.5), (0.5, 1), (0, 0.5)],
    "star": _star(),
    "cross": [
        *((_A, 0), (_B, 0), (_B, _A), (1, _A), (1, _B), (_B, _B)),
        *((_B, 1), (_A, 1), (_A, _B), (0, _B), (0, _A), (_A, _A)),
    ],
}
"""Corners in the unit square, `(x, y)` from the top left."""
