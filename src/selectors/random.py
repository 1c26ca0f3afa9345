"""Random tokens: the control that every ranking has to beat."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

import torch
from torch import Tensor

from ..tokens.visual import VisualTokens
from .base import Ranked


@dataclass(frozen=True)
class RandomSelector(Ranked):
    """Uniformly random tokens, reproducible per sample.

    Formula: the score hashes (seed, sample, number of the token), so a sample draws the same tokens
    alone, in any batch, on any device. Samples are told apart by `run.identify(ids)`; without it
    all samples share one draw.

    Cost: none. Source: a control of ours.
    """

    keep: float | int = 0.5
    _: KW_ONLY
    seed: int = 0

    def score(self, tokens: VisualTokens) -> Tensor:
        return uniform_per_token(tokens, self.seed)


def uniform_per_token(tokens: VisualTokens, seed: int) -> Tensor:
    """One number in [0, 1) per token, float32 `[R, N]`, from (seed, sample, ordinal) alone."""
    samples = [tokens.seeds[row.sample] if tokens.seeds else 0 for row in tokens.rows]
    key = torch.tensor(samples, dtype=torch.long).to(tokens.device, non_blocking=True)
    state = _mix(_mix(key + seed * 0x5851F42D)[:, None] + tokens.ordinal)
    return (state >> 40 & 0xFFFFFF).float() / 2**24


def _mix(x: Tensor) -> Tensor:
    """A finaliser in the manner of SplitMix64 on int64, whose products wrap around."""
    x = (x ^ x >> 30 & 0x3FFFFFFFF) * -0x40A7B892E31B1A47
    x = (x ^ x >> 27 & 0x1FFFFFFFFF) * -0x6B2FB644ECCEEE15
    return x ^ x >> 31 & 0x1FFFFFFFF
