"""Rows of visual tokens and their geometry.

A ROW is one block of visual tokens: an image, a video frame, a thumbnail or a tile. The samples of
a batch are just more rows, so a selector never loops over the batch and padding is only a mask.
Shapes: R rows of up to N tokens, A rotary axes.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, Self, TypeVar, cast

import torch
from torch import Tensor

from .copies import Copies
from .rows import Row, Scope, are_rows_of, rows_of_scope

T = TypeVar("T")


@dataclass(frozen=True, eq=False, kw_only=True)
class TokenRows:
    """The visual tokens of a batch as rows; each row's tokens come first, in input order.

    Attributes:
        rows: facts about each row, length R.
        blocks: facts about each block; equal to `rows` until `regroup` merges or splits them.
        block: block of each token, long `[R, N]`.
        index: position in the (padded) input sequence, long `[R, N]`.
        slot: position in the current sequence, long `[R, N]`; equals `index` before any pruning.
        ordinal: number among the sample's visual tokens in input order, long `[R, N]`. Unlike
            `index` it does not depend on the padding.
        cell: row and column in the block's grid, long `[R, N, 2]`.
        xy: centre of the token in the original image, in [0, 1], float `[R, N, 2]` as (x, y). It
            means nothing, and may be NaN, for special tokens.
        thumbnail_cell: cell of the image's thumbnail that shows the area of the token, long
            `[R, N, 2]`, (-1, -1) for none; None where the layout of tiles is not known. Tokens of
            anything but a tile show themselves.
        positions: position ids on each rotary axis, long `[A, R, N]`; for M-RoPE t, h, w.
        inv_freq: rotary frequencies of the model, float `[d / 2]`.
        frequency_axis: rotary axis that turns each frequency, long `[d / 2]`.
        special: newline and separator tokens: always kept, and counted, bool `[R, N]`.
        eligible: tokens that a ranking may take (letterbox padding may not), bool `[R, N]`.
        all_alike: known without the device that none is special and each is eligible.
        added: tokens that an earlier stage added; the rest is from the input, bool `[R, N]`.
        reserved: tokens that stay whatever a selector says, and that every budget counts: a ranking
            may not take them and keeps so many fewer, see `reserve`; bool `[R, N]`, None for none.
        annotated: covered by the sample's annotated boxes, bool `[R, N]`; None without annotation.
        seeds: one integer per batch element that names the sample; random selectors use it.
    """

    rows: tuple[Row, ...]
    blocks: tuple[Row, ...]
    block: Tensor
    index: Tensor
    slot: Tensor
    ordinal: Tensor
    cell: Tensor
    xy: Tensor
    positions: Tensor
    inv_freq: Tensor
    frequency_axis: Tensor
    special: Tensor
    eligible: Tensor
    added: Tensor
    reserved: Tensor | None = None
    annotated: Tensor | None = None
    seeds: tuple[int, ...] = ()
    thumbnail_cell: Tensor | None = None
    all_alike: bool = False
    source: Tensor | None = None
    parent_shape: tuple[int, int] | None = None
    _memo: dict[Hashable, Any] = field(default_factory=dict, repr=False)

    @property
    def shape(self) -> tuple[int, int]:
        """(R, N)."""
        return self.index.shape[0], self.index.shape[1]

    @property
    def device(self) -> torch.device:
        return self.index.device

    @property
    def count(self) -> list[int]:
        """Tokens in each row now."""
        return [row.count for row in self.rows]

    @property
    def original_count(self) -> list[int]:
        """Tokens in each row before pruning."""
        return [row.original_count for row in self.rows]

    @cached_property
    def eligible_count(self) -> list[int]:
        """Tokens in each row that a ranking may take now; may cost one device sync."""
        if self.all_alike:
            return self.count
        counts: list[int] = (self.eligible & self.valid).sum(dim=1).tolist()
        return counts

    @cached_property
    def reserved_count(self) -> list[int]:
        """Reserved tokens of each row; where there are any, one device sync."""
        if self.reserved is None:
            return [0] * len(self.rows)
        counts: list[int] = (self.reserved & self.valid).sum(dim=1).tolist()
        return counts

    @property
    def kind(self) -> list[str]:
        return [row.kind for row in self.rows]

    @property
    def grid(self) -> list[tuple[int, int]]:
        return [row.grid for row in self.rows]

    @cached_property
    def sample(self) -> Tensor:
        """Batch element of each row, long `[R]`."""
        return self._per_row([row.sample for row in self.rows])

    @cached_property
    def image(self) -> Tensor:
        """Image of its sample that each row belongs to, long `[R]`."""
        return self._per_row([row.image for row in self.rows])

    @cached_property
    def grid_size(self) -> Tensor:
        """(rows, columns) of each token's own block, long `[R, N, 2]`."""
        sizes = torch.tensor([*(b.grid for b in self.blocks), (1, 1)], dtype=torch.long)
        return sizes.to(self.device, non_blocking=True)[self.block]

    @cached_property
    def valid(self) -> Tensor:
        """Real tokens (the rest of a row is padding), bool `[R, N]`."""
        return torch.arange(self.shape[1], device=self.device) < self._per_row(self.count)[:, None]

    def _per_row(self, values: Sequence[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.long).to(self.device, non_blocking=True)

    def memoise(self, key: Hashable, compute: Callable[[], T]) -> T:
        """`compute()` once per stage: selectors of one composition share what they compute."""
        if key not in self._memo:
            self._memo[key] = compute()
        return cast(T, self._memo[key])

    # Views and survivors -----------------------------------------------------------------------

    def detached(self) -> Self:
        """The same tokens, without anything that was asked of a model or computed."""
        return replace(self, _memo={})

    def to(self, device: torch.device) -> Self:
        """The same tokens on another device, detached."""
        if device == self.device:
            return self
        moved: dict[str, Any] = {
            item.name: value.to(device)
            for item in fields(self)
            if isinstance(value := getattr(self, item.name), Tensor)
        }
        return replace(self.detached(), **moved)

    def restrict(self, allowed: Tensor) -> Self:
        """The same tokens, of which rankings may take only `allowed`, bool `[R, N]`."""
        eligible = self.eligible & allowed
        return replace(self, eligible=eligible, all_alike=False, _memo=self._memo)

    def reserve(self, tokens: Tensor) -> Self:
        """The same tokens, of which some are kept already.

        Args:
            tokens: bool `[R, N]`, all of them eligible.
        """
        return replace(self.restrict(~tokens), reserved=tokens)

    @property
    def whole(self) -> Self:
        """The same tokens without the reservation: for scores, which do not depend on a budget."""
        if self.reserved is None:
            return self
        return replace(
            self, eligible=self.eligible | self.reserved, reserved=None, _memo=self._memo
        )

    def is_grouped(self, scope: Scope) -> bool:
        """Whether these rows are those of the scope already; costs nothing on the device."""
        return self.rows is self.blocks and are_rows_of(scope, self.blocks)

    def regroup(self, scope: Scope) -> Self:
        """The same tokens in other rows: one per grid line, block, image (or video) or sample.

        A merged row takes kind and grid of its first block; `cell` stays relative to the token's
        own block. `to_parent` brings a mask back. Where the rows are those of the scope already,
        such as one picture in each sample, they stay as they are.
        """
        if self.is_grouped(scope):
            return self
        groups, keys = rows_of_scope(scope, self.blocks, self.block, self.cell, self.valid)
        total, width = sum(g.count for g in groups), max((g.count for g in groups), default=0)
        order = keys.reshape(-1).argsort(stable=True)[:total]
        counts = torch.tensor([g.count for g in groups], dtype=torch.long)
        starts = counts.cumsum(0) - counts
        column = torch.arange(total) - starts.repeat_interleave(counts)
        target = torch.arange(len(groups)).repeat_interleave(counts) * width + column
        n_parent = self.index.numel()
        source = torch.full((len(groups) * width,), n_parent, device=self.device)
        source[target.to(self.device, non_blocking=True)] = order
        source = source.view(len(groups), width)
        gather = source.clamp(max=max(n_parent - 1, 0))
        return replace(
            self.take_flat(gather),
            rows=groups,
            source=source,
            parent_shape=self.shape,
            _memo={},
        )

    def to_parent(self, mask: Tensor) -> Tensor:
        """A mask of these rows, bool `[R, N]`, as one of the rows that `regroup` started from.

        Rows that it left as they were have the same mask.
        """
        return self._in_parent(mask & self.valid, False)

    def numbers_to_parent(self, numbers: Tensor, elsewhere: int) -> Tensor:
        """As `to_parent` for numbers, long `[R, N]`; `elsewhere` for tokens that are in no row."""
        return self._in_parent(numbers.masked_fill(~self.valid, elsewhere), elsewhere)

    def _in_parent(self, values: Tensor, elsewhere: int) -> Tensor:
        """Values of these rows' tokens at their places in the rows before `regroup`."""
        if self.source is None or self.parent_shape is None:
            return values
        rows, width = self.parent_shape
        flat = values.new_full((rows * width + 1,), elsewhere)  # the last is where padding goes
        flat[self.source.reshape(-1)] = values.reshape(-1)
        return flat[:-1].view(rows, width)

    def survivors(
        self,
        keep: Tensor,
        counts: Sequence[int],
        new_slot: Tensor,
        copies: Copies | None = None,
    ) -> Self:
        """The tokens left after a stage, then those that it added; rows stay, possibly empty.

        Args:
            keep: bool `[R, N]`.
            counts: tokens of each row from now on, as Python ints.
            new_slot: slot of each kept token in the compacted sequence, long `[R, N]`.
            copies: the added tokens.
        """
        columns = torch.arange(self.shape[1], device=self.device).expand(self.shape)
        real, slot, added = keep, new_slot, self.added
        if copies is not None:
            columns = torch.cat([columns, copies.origin], dim=1)
            real = torch.cat([keep, copies.valid], dim=1)
            slot = torch.cat([slot, copies.slot], dim=1)
            added = torch.cat([added, torch.ones_like(copies.valid)], dim=1)
        order = (~real).to(torch.uint8).argsort(dim=1, stable=True)[:, : max(counts, default=0)]
        base = torch.arange(len(self.rows), device=self.device)[:, None] * self.shape[1]
        rows = tuple(replace(r, count=c) for r, c in zip(self.rows, counts, strict=True))
        return replace(
            self.detached().take_flat(columns.gather(1, order) + base),
            rows=rows,
            blocks=rows,
            slot=slot.gather(1, order),
            added=added.gather(1, order),
        )

    def take_flat(self, gather: Tensor) -> Self:
        """Every per-token field at flat indices `[R', N']` into this table's `R * N` tokens."""

        def take(x: Tensor) -> Tensor:
            return x.flatten(0, 1)[gather]

        return replace(
            self,
            block=take(self.block),
            index=take(self.index),
            slot=take(self.slot),
            ordinal=take(self.ordinal),
            cell=take(self.cell),
            xy=take(self.xy),
            thumbnail_cell=None if self.thumbnail_cell is None else take(self.thumbnail_cell),
            positions=self.positions.flatten(1, 2)[:, gather],
            special=take(self.special),
            eligible=take(self.eligible),
            added=take(self.added),
            reserved=None if self.reserved is None else take(self.reserved),
            annotated=None if self.annotated is None else take(self.annotated),
        )
