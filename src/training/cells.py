"""What each visual token of a scene shows: the labels of the probe."""

from __future__ import annotations

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


def describe_cells(scene: Scene) -> tuple[Tensor, Tensor]:
    """What each of the N visual tokens of a scene shows.

    Returns:
        `Batch.cells` long [N, 8], and bool [N, T]: the thing that covers most of the token, if
        that is at least a sixth of it.
    """
    rows, columns = np.indices((scene.height // TOKEN, scene.width // TOKEN)).reshape(2, -1)
    boxes = np.array([thing.box for thing in scene.things])
    overlap = np.ones((len(rows), len(boxes)), dtype=int)
    for axis, start in ((0, columns * TOKEN), (1, rows * TOKEN)):
        low = np.maximum(start[:, None], boxes[:, axis])
        high = np.minimum(start[:, None] + TOKEN, boxes[:, axis + 2])
        overlap *= np.maximum(high - low, 0)
    shown = (overlap == overlap.max(1, keepdims=True)) & (overlap * 6 >= TOKEN**2)
    background = [len(COLOURS), len(SHAPES), *(IGNORE,) * 4]
    things = np.array(
        [
            [COLOURS.index(t.colour), SHAPES.index(t.shape), *(edge // BIN for edge in t.box)]
            for t in scene.things
        ]
        + [background]
    )
    index = np.where(shown.any(1), shown.argmax(1), len(scene.things))
    cells = np.concatenate([rows[:, None], columns[:, None], things[index]], 1)
    return torch.from_numpy(cells), torch.from_numpy(shown)
