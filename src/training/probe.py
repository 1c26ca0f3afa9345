"""Training-only heads on an early layer of the tiny model."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .cells import CELL_CLASSES, CHARACTER_CLASSES, IGNORE
from .packing import Batch

COORDINATE_SIGMA = 0.8
"""Standard deviation of soft coordinate labels, in bins of 7 px."""


def soft_bins(bins: int) -> Tensor:
    """Labels of coordinate bins: row b is a normalised Gaussian around b, float [bins, bins]."""
    offsets = torch.arange(bins)[:, None] - torch.arange(bins)
    return torch.softmax(-((offsets / COORDINATE_SIGMA) ** 2) / 2, dim=1)


class Probe(nn.Module):
    """Makes an early layer name what each visual token shows, and point at what is asked for.

    Without it, training sits on a plateau for long before the model finds any thing at all.
    """

    soft_bins: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.cells = nn.Linear(width, sum(CELL_CLASSES))
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.characters = nn.Linear(width, 2 * CHARACTER_CLASSES)
        self.register_buffer("soft_bins", soft_bins(CELL_CLASSES[-1]), persistent=False)

    def loss(self, hidden: Tensor, batch: Batch, is_visual: Tensor) -> Tensor:
        """Sum of the mean losses for row, column, colour, shape, box, characters and pointer.

        Args:
            hidden: float [B, S, width], output of a decoder layer.
            is_visual: bool [B, S].
        """
        hidden = self.norm(hidden)
        heads = self.cells(hidden[is_visual]).float().split(CELL_CLASSES, dim=1)
        named = sum(map(F.cross_entropy, heads[:4], batch.cells.T[:4]))
        on_thing = batch.cells[:, -1] != IGNORE
        boxes = [
            F.cross_entropy(head[on_thing], self.soft_bins[label[on_thing]])
            for head, label in zip(heads[4:], batch.cells.T[4:], strict=True)
        ]
        spelled = self._character_loss(hidden[is_visual], batch.characters)
        pointing = self._pointer_loss(hidden, batch, is_visual)
        return named + torch.stack(boxes).mean() + spelled + pointing

    def _character_loss(self, visual: Tensor, labels: Tensor) -> Tensor:
        """Of both characters of a visual token, where something is written; else 0."""
        scores = self.characters(visual).float().unflatten(1, (2, CHARACTER_CLASSES))
        losses = F.cross_entropy(scores.flatten(0, 1), labels.flatten(), reduction="sum")
        return 2 * losses / (labels != IGNORE).sum().clamp(min=1)

    def _pointer_loss(self, hidden: Tensor, batch: Batch, is_visual: Tensor) -> Tensor:
        """Minus the log of the attention that supervised positions pay to their things."""
        scores = self.query(hidden) @ self.key(hidden).mT / hidden.shape[-1] ** 0.5
        scores = scores.float().masked_fill(~is_visual[:, None], -torch.inf)
        pointing = batch.pointers.any(2)
        scores, targets = scores[pointing], batch.pointers[pointing]
        on_target = scores.masked_fill(~targets, -torch.inf)
        return (scores.logsumexp(1) - on_target.logsumexp(1)).mean()
