"""Conversations apart: what a model keeps only of the last one stays with each one's cache."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_KEPT = "ivcprune_position_offset"
"""On a cache, which copies of it take along: long `[B, 1]`."""


class Conversations:
    """Where each conversation's positions go on, for models with `rope_deltas`.

    Qwen's models have one such tensor, of the last images that they saw: with it, an earlier
    conversation would go on at the positions of another one.
    """

    def __init__(self, core: Any) -> None:
        self._core = core
        self._needed = hasattr(core, "rope_deltas")

    def go_on(self, cache: Any, batch: int) -> None:
        """A call with this cache is about to make positions for `batch` sequences."""
        offset: Tensor | None = getattr(cache, _KEPT, None)
        if offset is None or not self._needed or not batch or len(offset) % batch:
            return
        # beams of a sample, which follow one another, are alike
        self._core.rope_deltas = offset[:: len(offset) // batch]

    def remember(self, cache: Any, positions: Tensor, mask: Any, past: int) -> None:
        """New tokens were given these positions.

        Args:
            positions: on each rotary axis, `[A, B, S]`.
            mask: padding mask `[B, past + S]`; anything else stands for no padding.
            past: tokens seen before.
        """
        if not self._needed or cache is None:
            return
        batch, length = positions.shape[1:]
        n_real = torch.full((batch,), past + length, device=positions.device)
        highest = positions.amax(dim=0)
        if isinstance(mask, Tensor) and mask.dim() == 2:
            real = mask.to(positions.device).bool()
            n_real = real.sum(dim=1)
            highest = highest.masked_fill(~real[:, -length:], -1)
        setattr(cache, _KEPT, (highest.amax(dim=1) + 1 - n_real)[:, None])
