"""What a selector sees: rows of visual tokens, their geometry and their signals.

A ROW is one block of visual tokens: an image, a video frame, a thumbnail or a tile. The samples of
a batch are just more rows, so a selector never loops over the batch and padding is only a mask.
Shapes: R rows of up to N tokens, A rotary axes, B batch elements, S current sequence length.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import Any, Literal, Protocol, TypeVar, cast

import torch
from torch import Tensor

from .rows import Row, Scope, rows_of_scope

T = TypeVar("T")

TextSpan = Literal["after_image", "all"]
AttentionLayer = Literal["previous", "next"]


class Signal(StrEnum):
    """What a selector may ask a running model for; it names its wishes in `Selector.needs`."""

    VALUES = "values"
    """Value vectors of the last layer that ran."""
    ATTENTION_PREVIOUS = "attention_previous"
    """Attention rows of the last layer that ran."""
    ATTENTION_NEXT = "attention_next"
    """Attention rows of the layer about to run."""


FROM_PREVIOUS_LAYER = frozenset({Signal.VALUES, Signal.ATTENTION_PREVIOUS})
"""Signals that a stage at layer 0 cannot have."""


class Signals(Protocol):
    """Sequence-level signals of one prefill, in the CURRENT sequence (after earlier stages)."""

    def sequence_values(self) -> tuple[Tensor, Tensor]:
        """Value vectors `[B, H_kv, S, D]` and the validity mask `[B, S]`."""

    def text_slots(self, span: TextSpan) -> tuple[Tensor, Tensor]:
        """Slots of each sample's text tokens, long `[B, L]`, and their mask `[B, L]`.

        A sample without text after its image answers "after_image" with all of its text.
        """

    def attention(self, layer: AttentionLayer) -> Tensor:
        """Head-mean softmax row of each sample's last token over all keys, `[B, 1, S]` float32."""


@dataclass(frozen=True, eq=False, kw_only=True)
class VisualTokens:
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
        xy: centre of the token in the original image, in [0, 1], float `[R, N, 2]` as (x, y).
        positions: position ids on each rotary axis, long `[A, R, N]`; for M-RoPE t, h, w.
        inv_freq: rotary frequencies of the model, float `[d / 2]`.
        frequency_axis: rotary axis that turns each frequency, long `[d / 2]`.
        special: newline and separator tokens: always kept, and counted, bool `[R, N]`.
        eligible: tokens that a ranking may take (letterbox padding may not), bool `[R, N]`.
        seeds: one integer per batch element that names the sample; random selectors use it.
        signals: the running model's signals; None where there is no model.
        needs: the signals that were declared; asking for another one is an error.
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
    seeds: tuple[int, ...] = ()
    signals: Signals | None = None
    needs: frozenset[Signal] = frozenset()
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

    # Signals -----------------------------------------------------------------------------------

    def values(self) -> Tensor:
        """Value vectors of the visual tokens, `[R, H_kv, N, D]` (padding holds arbitrary ones)."""
        values, _ = self.sequence_values()
        return values[self.sample[:, None], :, self.slot].transpose(1, 2)

    def sequence_values(self) -> tuple[Tensor, Tensor]:
        """Value vectors of the whole current sequence `[B, H_kv, S, D]`, and a mask `[B, S]`."""
        return self._require(Signal.VALUES).sequence_values()

    def text_values(self, span: TextSpan = "after_image") -> tuple[Tensor, Tensor]:
        """Value vectors of the text of each row's sample `[R, H_kv, L, D]`, and a mask `[R, L]`.

        `after_image` is the prompt after the sample's last visual token; samples without any such
        text fall back to all of their text.
        """
        return self.memoise(("text_values", span), lambda: self._gather_text(span))

    def _gather_text(self, span: TextSpan) -> tuple[Tensor, Tensor]:
        signals = self._require(Signal.VALUES)
        values, _ = signals.sequence_values()
        slots, mask = signals.text_slots(span)
        rows = values[self.sample[:, None], :, slots[self.sample]].transpose(1, 2)
        return rows, mask[self.sample]

    def attention(self, *, layer: AttentionLayer = "previous") -> Tensor:
        """Attention that the sample's last token pays to each visual token, `[R, 1, N]` float32.

        The softmax runs over all keys of the sequence, then heads are averaged: exactly the row of
        the eager model's weights, at the cost of one row.
        """
        wanted = Signal.ATTENTION_PREVIOUS if layer == "previous" else Signal.ATTENTION_NEXT
        rows = self._require(wanted).attention(layer)
        return rows[self.sample[:, None], :, self.slot].transpose(1, 2)

    def _require(self, signal: Signal) -> Signals:
        if self.signals is None:
            raise ValueError(f"signal '{signal}' was asked for, but no model is running here")
        if signal not in self.needs:
            raise ValueError(
                f"signal '{signal}' was asked for but not declared: "
                f"add it to the selector's `needs` (declared: {sorted(self.needs)})"
            )
        return self.signals

    def memoise(self, key: Hashable, compute: Callable[[], T]) -> T:
        """`compute()` once per stage: selectors of one composition share what they compute."""
        if key not in self._memo:
            self._memo[key] = compute()
        return cast(T, self._memo[key])

    # Views and survivors -----------------------------------------------------------------------

    def with_signals(self, signals: Signals, needs: frozenset[Signal]) -> VisualTokens:
        """The same tokens at a stage of a running model."""
        return replace(self, signals=signals, needs=needs, _memo={})

    def restrict(self, allowed: Tensor) -> VisualTokens:
        """The same tokens, of which rankings may take only `allowed`, bool `[R, N]`."""
        return replace(self, eligible=self.eligible & allowed, _memo=self._memo)

    def regroup(self, scope: Scope) -> VisualTokens:
        """The same tokens in other rows: one per grid line, block, image (or video) or sample.

        A merged row takes kind and grid of its first block; `cell` stays relative to the token's
        own block. `to_parent` brings a mask back.
        """
        groups, keys = rows_of_scope(scope, self.blocks, self.block, self.cell, self.valid)
        total, width = sum(g.count for g in groups), max((g.count for g in groups), default=0)
        order = keys.reshape(-1).argsort(stable=True)[:total]
        counts = torch.tensor([g.count for g in groups], dtype=torch.long)
        starts = counts.cumsum(0) - counts
        column = torch.arange(total) - starts.repeat_interleave(counts)
        target = torch.arange(len(groups)).repeat_interleave(counts) * width + column
        n_parent = self.index.numel()
        source = torch.full((len(groups) * width,), n_parent, device=self.device)
        source[target.to(self.device)] = order
        source = source.view(len(groups), width)
        gather = source.clamp(max=max(n_parent - 1, 0))
        return replace(
            self._take_flat(gather),
            rows=groups,
            source=source,
            parent_shape=self.shape,
            _memo={},
        )

    def to_parent(self, mask: Tensor) -> Tensor:
        """A mask of these rows, bool `[R, N]`, as one of the rows that `regroup` started from."""
        if self.source is None or self.parent_shape is None:
            raise ValueError("to_parent needs tokens that `regroup` returned")
        rows, width = self.parent_shape
        flat = torch.zeros(rows * width + 1, dtype=torch.bool, device=self.device)
        flat[self.source.reshape(-1)] = (mask & self.valid).reshape(-1)
        return flat[:-1].view(rows, width)

    def survivors(self, keep: Tensor, counts: Sequence[int], new_slot: Tensor) -> VisualTokens:
        """The tokens left after a stage; rows stay, possibly empty.

        Args:
            keep: bool `[R, N]`.
            counts: kept tokens of each row, as Python ints.
            new_slot: slot of each kept token in the compacted sequence, long `[R, N]`.
        """
        width = max(counts, default=0)
        columns = (~keep).to(torch.uint8).argsort(dim=1, stable=True)[:, :width]
        gather = columns + torch.arange(len(self.rows), device=self.device)[:, None] * keep.shape[1]
        rows = tuple(replace(r, count=c) for r, c in zip(self.rows, counts, strict=True))
        moved = replace(self, slot=new_slot)
        return replace(moved._take_flat(gather), rows=rows, blocks=rows, signals=None, _memo={})

    def _take_flat(self, gather: Tensor) -> VisualTokens:
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
            positions=self.positions.flatten(1, 2)[:, gather],
            special=take(self.special),
            eligible=take(self.eligible),
        )
