"""Placing added tokens behind the kept tokens of their row, in a batch that stays packed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..tokens.visual import VisualTokens
from .repack import Repack


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
