"""Visual tokens that a sample's annotated boxes cover (paper Tab. 6 and 11)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..models.blocks import Block

Boxes = Sequence[Sequence[float]]
"""Boxes (x1, y1, x2, y2) of one sample, as fractions of its first image's width and height."""


def check_boxes(boxes: Sequence[Boxes]) -> None:
    """Raises ValueError unless every box has four fractions in [0, 1], in order."""
    for number, of_sample in enumerate(boxes):
        for box in of_sample:
            if len(box) != 4 or not (0 <= box[0] <= box[2] <= 1 and 0 <= box[1] <= box[3] <= 1):
                raise ValueError(
                    f"annotate: box {list(box)} of sample {number} must be (x1, y1, x2, y2) with "
                    "0 <= x1 <= x2 <= 1 and 0 <= y1 <= y2 <= 1: fractions of the image's size"
                )


def annotated_tokens(blocks: Sequence[Block], boxes: Sequence[Boxes]) -> list[Tensor]:
    """Which tokens of each block a box of its sample overlaps, bool `[n]` per block.

    Only the first image (or video) of a sample is annotated. Special tokens and those that no
    ranking may take are never covered.

    Args:
        blocks: visual blocks of the batch.
        boxes: of each batch element; perhaps none.
    """
    return [
        _covered(block, boxes[block.sample])
        if block.image == 0
        else torch.zeros(len(block.cell), dtype=torch.bool)
        for block in blocks
    ]


def _covered(block: Block, boxes: Boxes) -> Tensor:
    covered = torch.zeros(len(block.cell), dtype=torch.bool)
    half = _token_size(block) / 2
    for box in boxes:
        low, high = torch.tensor(box[:2]), torch.tensor(box[2:])
        # open at the edges: a box that ends where a token begins does not cover it
        covered |= ((block.xy + half > low) & (block.xy - half < high)).all(dim=-1)
    if block.special is not None:
        covered &= ~block.special
    return covered if block.eligible is None else covered & block.eligible


def _token_size(block: Block) -> Tensor:
    """(width, height) of a token as fractions of the image, from the distance of neighbours."""
    sizes = []
    for axis, n in enumerate(reversed(block.grid)):
        places = block.xy[:, axis] if block.special is None else block.xy[~block.special, axis]
        steps = places.unique().diff()
        # rounding makes near-duplicates of equal places
        steps = steps[steps > 1e-4]
        sizes.append(float(steps.min()) if len(steps) else 1.0 / n)
    return torch.tensor(sizes)
