"""A key-value cache whose layers have lost tokens, and the tensor work of dropping them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer, DynamicSlidingWindowLayer

from ...models.token_rules import holds_tokens
from ..sequence.packing import Repack


class PrunedLayer(DynamicLayer):
    """A cache layer that stores fewer tokens than it has seen.

    It reports its LOGICAL length, since `generate` slices the input of a continued conversation by
    it. What is stored may be ragged over the batch: `valid` marks the real entries.

    Attributes:
        dropped: tokens seen minus tokens stored.
        altered: whether what is stored is anything but the tokens seen.
        valid: bool `[B, stored]`, or None when every entry is real.
        index: where each entry was when nothing had been dropped, long `[B, stored]`; None where
            that is not needed.
        shift: how far the positions of tokens to come lie below the logical ones, long `[B]`, where
            survivors were given contiguous positions; else None.
    """

    def __init__(self) -> None:
        super().__init__()
        self.dropped = 0
        self.altered = False
        self.valid: Tensor | None = None
        self.index: Tensor | None = None
        self.shift: Tensor | None = None

    @classmethod
    def of(cls, layer: DynamicLayer) -> Self:
        """The same entries as a layer that can lose some."""
        pruned = cls()
        vars(pruned).update(vars(layer))
        return pruned

    def lose(self, n: int) -> None:
        """Note that n tokens fewer than seen are stored, or will be by the layer about to run."""
        self.dropped += n
        self.altered = True

    @property
    def stored(self) -> int:
        """Entries per sequence, padding included."""
        return stored_length(self)

    def get_seq_length(self) -> int:
        return self.stored + self.dropped

    def reorder_cache(self, beam_idx: torch.LongTensor) -> None:
        super().reorder_cache(beam_idx)
        self._for_each_mask(lambda x: x.index_select(0, beam_idx.to(x.device)))

    def batch_repeat_interleave(self, repeats: int) -> None:
        super().batch_repeat_interleave(repeats)
        self._for_each_mask(lambda x: x.repeat_interleave(repeats, dim=0))

    def batch_select_indices(self, indices: Tensor) -> None:
        super().batch_select_indices(indices)
        self._for_each_mask(lambda x: x[indices])

    def _for_each_mask(self, change: Callable[[Tensor], Tensor]) -> None:
        """Let what is known of each sequence follow a change of the batch."""
        self.valid = None if self.valid is None else change(self.valid)
        self.index = None if self.index is None else change(self.index)
        self.shift = None if self.shift is None else change(self.shift)

    def crop(self, tokens_to_remove: int) -> None:
        super().crop(tokens_to_remove)
        if tokens_to_remove:
            left = slice(None, -abs(tokens_to_remove))
            self.valid = None if self.valid is None else self.valid[:, left]
            self.index = None if self.index is None else self.index[:, left]

    def reset(self) -> None:
        super().reset()
        self.dropped, self.altered = 0, False
        self.valid = self.index = self.shift = None


def stored_length(layer: Any) -> int:
    """Entries that a cache layer really holds per sequence; none where it keeps a state.

    An unpruned sliding window counts those that it has forgotten, too.
    """
    if type(layer) is DynamicSlidingWindowLayer:
        return int(layer.get_seq_length())
    if not holds_tokens(layer) or not layer.is_initialized or layer.keys.numel() == 0:
        return 0
    return int(layer.keys.shape[-2])


def prunable_layers(
    cache: Cache, depth: int, valid: Tensor | None, indexed: bool
) -> dict[int, PrunedLayer]:
    """The layers of a dynamic cache by number, which this turns into `PrunedLayer`s in place.

    Layers that keep a state of the sequence are left as they are, and out of what is returned.

    Args:
        cache: layers that are not pruned yet hold every token seen so far.
        depth: number of decoder layers; missing layers are added.
        valid: real entries among the tokens seen so far, bool `[B, seen]`, or None for all.
        indexed: entries need to know where they were, see `PrunedLayer.index`.

    Raises:
        ValueError: the cache is not made of plain dynamic layers (static, sliding, quantised).
    """
    missing = range(len(cache.layers), depth)
    cache.layers.extend(DynamicLayer() for _ in missing)
    for index, layer in enumerate(cache.layers):
        if holds_tokens(layer) and not isinstance(layer, PrunedLayer):
            pruned = cache.layers[index] = _prunable(layer, index, valid)
            if indexed and pruned.keys is not None:
                place = torch.arange(pruned.stored, device=pruned.keys.device)
                pruned.index = place.expand(len(pruned.keys), -1)
    return {i: layer for i, layer in enumerate(cache.layers) if isinstance(layer, PrunedLayer)}


def _prunable(layer: object, index: int, valid: Tensor | None) -> PrunedLayer:
    if type(layer) is not DynamicLayer:
        raise ValueError(
            f"the cache holds a {type(layer).__name__} at layer {index}: pruning needs a "
            "DynamicCache of full-attention layers, so leave `cache_implementation` unset"
        )
    pruned = PrunedLayer.of(layer)
    if valid is not None and pruned.stored:
        # one tensor for all layers alike: masks are made once for each
        whole = pruned.stored == valid.shape[1]
        pruned.valid = valid if whole else valid[:, : pruned.stored]
    return pruned


def drop_entries(layer: PrunedLayer, past: int, repack: Repack) -> None:
    """Drop tokens of the running prefill from a layer that has already cached them.

    Args:
        layer: holds `past` entries of earlier turns, which stay, then the S of this prefill.
        repack: what stays of those S.
    """
    before = layer.stored
    layer.keys = _drop(layer.keys, past, repack)
    layer.values = _drop(layer.values, past, repack)
    earlier = None if layer.valid is None else layer.valid[:, :past]
    if layer.index is not None:
        kept = repack.take(layer.index[:, past:])
        layer.index = torch.cat([layer.index[:, :past], kept], dim=1)
    batch, length = repack.order.shape
    layer.valid = concatenate_valid(earlier, past, repack.valid, length, batch)
    layer.lose(before - layer.stored)


def forget_entries(layer: PrunedLayer, past: int) -> None:
    """Take the running prefill out of a layer that is to run again; earlier turns stay."""
    if layer.keys is not None and layer.values is not None:
        layer.keys, layer.values = layer.keys[:, :, :past], layer.values[:, :, :past]
    layer.valid = None if layer.valid is None else layer.valid[:, :past]
    layer.index = None if layer.index is None else layer.index[:, :past]


def _drop(states: Tensor | None, past: int, repack: Repack) -> Tensor:
    """What stays of `[B, H, past + S, D]`."""
    if states is None:
        raise ValueError("a layer below the stage has cached nothing: run it with a cache")
    kept = repack.take(states[:, :, past:].transpose(1, 2)).transpose(1, 2)
    return torch.cat([states[:, :, :past], kept], dim=2) if past else kept


def concatenate_valid(
    first: Tensor | None, n_first: int, second: Tensor | None, n_second: int, batch: int
) -> Tensor | None:
    """Two validity masks side by side, bool `[B, n_first + n_second]`; None stands for all real.

    Without entries before it the second comes back itself, so that layers alike share one tensor.
    """
    if not n_first:
        return second
    if first is not None and second is not None:
        return torch.cat([first, second.to(first.device)], dim=1)
    if first is not None:
        return torch.cat([first, first.new_ones(batch, n_second)], dim=1)
    if second is not None:
        return torch.cat([second.new_ones(batch, n_first), second], dim=1)
    return None
