"""Closing the gaps of a pruned batch: kept tokens move to the right, in their order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Repack:
    """From a sequence of S slots to one of S', the longest sample's kept tokens.

    Attributes:
        order: slot that each new slot is filled from, ascending, long `[B, S']`. Shorter samples
            are filled up on the left with tokens that are not kept.
        slot: new slot of each kept token, long `[B, S]`; meaningless for the others.
        valid: which new slots hold kept tokens, bool `[B, S']`, or None for all.
    """

    order: Tensor
    slot: Tensor
    valid: Tensor | None

    @classmethod
    def of(cls, keep: Tensor, n_kept: Sequence[int]) -> Repack:
        """The packing of `keep`, bool `[B, S]`, of which each sample holds `n_kept`."""
        length = max(n_kept)
        # False sorts before True, and the sort is stable
        order = keep.to(torch.uint8).argsort(dim=1, stable=True)[:, keep.shape[1] - length :]
        filling = torch.tensor([[length - n] for n in n_kept]).to(keep.device, non_blocking=True)
        slot = keep.cumsum(dim=1) - 1 + filling
        valid = None
        if any(n < length for n in n_kept):
            valid = torch.arange(length, device=keep.device) >= filling
        return cls(order, slot, valid)

    @classmethod
    def ordered(cls, key: Tensor, n_kept: Sequence[int]) -> Repack:
        """The packing by ascending key, float `[B, S]`; of ties the first slot comes first.

        The `n_kept` entries of each sample with the highest keys are kept.
        """
        length = max(n_kept)
        order = key.argsort(dim=1, stable=True)
        slot = order.argsort(dim=1) - (key.shape[1] - length)
        filling = torch.tensor([[length - n] for n in n_kept]).to(key.device, non_blocking=True)
        valid = None
        if any(n < length for n in n_kept):
            valid = torch.arange(length, device=key.device) >= filling
        return cls(order[:, key.shape[1] - length :], slot, valid)

    def take(self, x: Tensor) -> Tensor:
        """Entries `[B, S', ...]` of `x`, `[B, S, ...]` (or `[1, S, ...]` for all samples alike)."""
        return taken(x, self.order)

    def take_mask(self, mask: Tensor) -> Tensor:
        """A mask of kept tokens `[B, S]` in the new sequence, False where nothing is kept."""
        taken = self.take(mask)
        return taken if self.valid is None else taken & self.valid


def taken(x: Tensor, order: Tensor) -> Tensor:
    """Entries `[B, S', ...]` of `x`, `[B, S, ...]` (or `[1, S, ...]` for all samples alike).

    Args:
        order: their slots, long `[B, S']`.
    """
    order = order.to(x.device)
    if x.shape[0] == 1 and order.shape[0] == 1:
        return x.index_select(1, order[0])
    rows = torch.arange(len(order), device=x.device)[:, None]
    return x.expand(len(order), *x.shape[1:])[rows, order]
