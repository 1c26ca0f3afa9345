"""What each visual token of a page shows: the labels of the probe."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..data.scenes.glyphs import CHARACTERS
from ..data.scenes.pages import Writing
from ..data.scenes.scene import BENCHMARK_LEVEL, BIN, COLOURS, SHAPES, TOKEN, Scene

IGNORE = -100
"""Label of positions that no loss looks at."""
CELL_CLASSES = (
    *(BENCHMARK_LEVEL.tokens[1],) * 2,
    *(len(COLOURS) + 1, len(SHAPES) + 1),
    *(BENCHMARK_LEVEL.tokens[1] * TOKEN // BIN + 1,) * 4,
)
"""Number of classes in each column of `Batch.cells` but for the characters."""
CHARACTER_CLASSES = len(CHARACTERS) + 1
"""Number of classes in each column of `Batch.characters`; the last one is "none"."""


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


def describe_characters(writings: Sequence[Writing], areas: Tensor) -> tuple[Tensor, Tensor]:
    """Which of C characters each of the N visual tokens shows, at its left and at its right.

    Args:
        writings: where there are none, or a token is larger than a large character, no loss looks
            at the labels.
        areas: see `describe_cells`; of a picture as large as the page.

    Returns:
        `Batch.characters` long [N, 2], and bool [N, C].
    """
    slots = [slot for writing in writings for slot in writing.slots]
    boxes = torch.tensor(slots, dtype=torch.long).view(-1, 4)
    text = "".join(writing.text for writing in writings)
    classes = torch.tensor([*map(CHARACTERS.index, text), CHARACTER_CLASSES - 1])
    middle = (areas[:, 1] + areas[:, 3]) // 2
    inside: list[Tensor] = []
    for quarter in (1, 3):
        x, y = areas[:, 0] + (areas[:, 2] - areas[:, 0]) * quarter // 4, middle
        across = (boxes[:, 0] <= x[:, None]) & (x[:, None] < boxes[:, 2])
        inside.append(across & (boxes[:, 1] <= y[:, None]) & (y[:, None] < boxes[:, 3]))
    found = torch.stack(inside, 1)  # [N, 2, C]
    none = ~found.any(2, keepdim=True)
    labels = classes[torch.cat([found, none], 2).long().argmax(2)]
    unread = (areas[:, 2] - areas[:, 0] > TOKEN) | (areas[:, 3] - areas[:, 1] > TOKEN)
    labels[unread | torch.tensor(not writings)] = IGNORE
    return labels, found.any(1) & ~unread[:, None]
