"""What each visual token of a scene shows: the labels of the probe."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ..data.scenes.scene import BENCHMARK_LEVEL, BIN, COLOURS, SHAPES, TOKEN, Scene

IGNORE = -100
"""Label of positions that no loss looks at."""
CELL_CLASSES = (
    *(BENCHMARK_LEVEL.tokens[1],) * 2,
    *(len(COLOURS) + 1, len(SHAPES) + 1),
    *(BENCHMARK_LEVEL.tokens[1] * TOKEN // BIN + 1,) * 4,
)
"""Number of classes in each column of `Batch.cells`."""


def framed(scene: Scene, size: tuple[int, int]) -> Scene:
    """The scene as a picture of another size shows it, edges rounded to whole bins.

    Args:
        size: width and height in pixels.
    """
    if size == (scene.width, scene.height):
        return scene
    scale = np.array([size[0] / scene.width, size[1] / scene.height] * 2)
    things = []
    for thing in scene.things:
        x1, y1, x2, y2 = (np.rint(np.array(thing.box) * scale / BIN).astype(int) * BIN).tolist()
        things.append(replace(thing, box=(x1, y1, x2, y2)))
    return Scene(*size, tuple(things))


def describe_cells(scene: Scene, areas: Tensor) -> tuple[Tensor, Tensor]:
    """What each of the N visual tokens of a scene shows.

    Args:
        areas: long [N, 4], the part `x1 y1 x2 y2` of the scene that a token shows, in pixels.

    Returns:
        `Batch.cells` long [N, 8], and bool [N, T]: the thing that covers most of the token, if
        that is at least a sixth of it.
    """
    parts = areas.numpy()
    boxes = np.array([thing.box for thing in scene.things])
    low = np.maximum(parts[:, None, :2], boxes[:, :2])
    high = np.minimum(parts[:, None, 2:], boxes[:, 2:])
    overlap = np.maximum(high - low, 0).prod(2)
    whole = (parts[:, 2:] - parts[:, :2]).prod(1, keepdims=True)
    shown = (overlap == overlap.max(1, keepdims=True)) & (overlap * 6 >= whole)
    background = [len(COLOURS), len(SHAPES), *(IGNORE,) * 4]
    things = np.array(
        [
            [COLOURS.index(t.colour), SHAPES.index(t.shape), *(edge // BIN for edge in t.box)]
            for t in scene.things
        ]
        + [background]
    )
    index = np.where(shown.any(1), shown.argmax(1), len(scene.things))
    places = (parts[:, [1, 0]] + parts[:, [3, 2]]) // 2 // TOKEN
    cells = np.concatenate([places, things[index]], 1)
    return torch.from_numpy(cells), torch.from_numpy(shown)
