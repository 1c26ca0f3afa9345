"""How slots move: kept tokens close the gaps, and added tokens join behind those of their row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...tokens.visual import VisualTokens


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


@dataclass(frozen=True, eq=False)
class Insertion:
    """New tokens that join a packed sequence of S slots: up to C in a sample.

    Attributes:
        repack: from the S slots and C new ones behind them to the sequence with all in place.
        counts: new tokens of each sample.
        sample: batch element of each row, long `[R]`.
        number: of each new token among those of its sample, long `[R, C_row]`.
        valid: real new tokens, bool `[R, C_row]`.
    """

    repack: Repack
    counts: list[int]
    sample: Tensor
    number: Tensor
    valid: Tensor

    @property
    def length(self) -> int:
        """Slots of the joined sequence."""
        return self.repack.order.shape[1]

    @classmethod
    def behind(
        cls, before: VisualTokens, valid: Tensor, repack: Repack, n_kept: list[int]
    ) -> Insertion:
        """New tokens of each row behind what a stage keeps of it.

        Args:
            before: the visual tokens that the stage chose from.
            valid: real new tokens, bool `[R, C_row]`.
            repack: the packing of what it keeps.
            n_kept: real tokens of each sample in that packing.
        """
        last = before.slot.masked_fill(~before.valid, -1).amax(dim=1).clamp(min=0)
        # a slot that is not kept counts those before it
        return cls.of(before.sample, repack.slot[before.sample, last], valid, n_kept)

    @classmethod
    def of(cls, sample: Tensor, anchor: Tensor, valid: Tensor, n_real: list[int]) -> Insertion:
        """Where the new tokens of each row go.

        Args:
            sample: batch element of each row, long `[R]`.
            anchor: slot of the packed sequence that each row's tokens follow, long `[R]`; one
                before the first real token is allowed.
            valid: real new tokens, bool `[R, C_row]`.
            n_real: real tokens of each sample in the packed sequence, whose length is their
                maximum.
        """
        batch, length, device = len(n_real), max(n_real), valid.device
        own_sample = sample[:, None] == torch.arange(batch, device=device)
        per_row = valid.sum(dim=1, keepdim=True) * own_sample
        in_rows_before = (per_row.cumsum(dim=0) - per_row).gather(1, sample[:, None])
        number = in_rows_before + valid.cumsum(dim=1) - 1
        counts: list[int] = per_row.sum(dim=0).tolist()
        nothing = torch.full((batch, max(counts)), -2.0, dtype=torch.double, device=device)
        key = _in_places(nothing, sample, number, valid, anchor[:, None].double() + 0.5)
        packed = torch.arange(length, device=device).double().expand(batch, length)
        missing = length - torch.tensor(n_real, device=device)
        packed = packed.masked_fill(packed < missing[:, None], -2)
        n_after = [n + c for n, c in zip(n_real, counts, strict=True)]
        repack = Repack.ordered(torch.cat([packed, key], dim=1), n_after)
        return cls(repack, counts, sample, number, valid)

    def join(self, x: Tensor, new: Tensor) -> Tensor:
        """`[B, S, ...]` with the entries `[R, C_row, ...]` of the new tokens in their places."""
        batch, shape = len(self.counts), new.shape[2:]
        nothing = x.new_zeros(batch, max(self.counts), *shape)
        table = _in_places(nothing, self.sample, self.number, self.valid, new.to(x))
        return self.repack.take(torch.cat([x.expand(batch, *x.shape[1:]), table], dim=1))

    def join_nothing(self, x: Tensor) -> Tensor:
        """`[B, S, ...]` with zeros (False) for the new tokens and where nothing is real."""
        batch = len(self.counts)
        table = x.new_zeros(batch, max(self.counts), *x.shape[2:])
        joined = torch.cat([x.expand(batch, *x.shape[1:]), table], dim=1)
        return self.repack.take_mask(joined) if x.dtype == torch.bool else self.repack.take(joined)

    def moved(self, sample: Tensor, slot: Tensor) -> Tensor:
        """Slots of the packed sequence as slots of the joined one."""
        return self.repack.slot[sample, slot.clamp(min=0)]

    def slots(self, length: int) -> Tensor:
        """Slot of each new token in the joined sequence, long `[R, C_row]`.

        Args:
            length: S.
        """
        return self.repack.slot[self.sample[:, None], length + self.number.clamp(min=0)]


def _in_places(table: Tensor, sample: Tensor, number: Tensor, valid: Tensor, new: Tensor) -> Tensor:
    """`[B, C, ...]` with the new tokens of each row, `[R, C_row, ...]`, at their numbers."""
    # padding goes to one column more, so that nothing has to be counted on the device
    wide = torch.cat([table, table[:, :1]], dim=1)
    wide[sample[:, None], number.masked_fill(~valid, table.shape[1])] = new
    return wide[:, :-1]
