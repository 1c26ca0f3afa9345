"""Visual tokens of one sample without a model."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ivcprune.selectors import Ranked
from ivcprune.testing import RecordedSample, recorded_tokens
from ivcprune.tokens import VisualTokens


def tokens_of(
    *grids: tuple[int, int],
    before: int = 3,
    after: int = 6,
    values: Tensor | None = None,
    theta: float = 1e4,
    seed: int = 0,
) -> VisualTokens:
    """One sample of images with those grids; text before and after them.

    Args:
        values: `[H, S, D]`; random where not given.
    """
    return recorded_tokens([RecordedSample(grids, before, after, seed, values)], theta=theta)


@dataclass(frozen=True, eq=False)
class Given(Ranked):
    """Scores by the number of the token within its sample."""

    keep: float | int = 0.5
    scores: tuple[float, ...] = ()

    def score(self, tokens: VisualTokens) -> Tensor:
        return torch.tensor(self.scores)[tokens.ordinal]
