"""A key-value cache whose layers have lost tokens, and the tensor work of dropping them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer


class PrunedLayer(DynamicLayer):  # type: ignore[misc]
    """A cache layer that stores fewer tokens than it has seen.

    It reports its LOGICAL length, since `generate` slices the input of a continued conversation by
    it. What is stored may be ragged over the batch: `valid` marks the real entries.

    Attributes:
        dropped: tokens seen but not stored.
        valid: bool `[B, stored]`, or None when every entry is real.
    """

    def __init__(self) -> None:
        super().__init__()
        self.dropped = 0
        self.valid: Tensor | None = None

    @classmethod
    def of(cls, layer: DynamicLayer) -> PrunedLayer:
        """The same entries as a layer that can lose some."""
        pruned = cls()
        if layer.is_initialized:
            pruned.dtype, pruned.device = layer.dtype, layer.device
            pruned.keys, pruned.values = layer.keys, layer.values
            pruned.is_initialized = True
        return pruned

    @property
    def stored(self) -> int:
        """Entries per sequence, padding included."""
        return stored_length(self)

    def get_seq_length(self) -> int:
        return self.stored + self.dropped

    def reorder_cache(self, beam_idx: Tensor) -> None:
        super().reorder_cache(beam_idx)
        if self.valid is not None:
            self.valid = self.valid.index_select(0, beam_idx.to(self.valid.device))

    def batch_repeat_interleave(self, repeats: int) -> None:
        super().batch_repeat_interleave(repeats)
        if self.valid is not None:
            self.valid = self.valid.repeat_interleave(repeats, dim=0)

    def batch_select_indices(self, indices: Tensor) -> None:
        super().batch_select_indices(indices)
        if self.valid is not None:
            self.valid = self.valid[indices]

    def crop(self, tokens_to_remove: int) -> None:
        super().crop(tokens_to_remove)
        if self.valid is not None and tokens_to_remove:
            self.valid = self.valid[:, : -abs(tokens_to_remove)]

    def reset(self) -> None:
        super().reset()
        self.dropped, self.valid = 0, None


def stored_length(layer: Any) -> int:
    """Entries that a cache layer really holds per sequence."""
    if not layer.is_initialized or layer.keys.numel() == 0:
        return 0
    return int(layer.keys.shape[-2])


def make_prunable(cache: Cache, depth: int, valid: Tensor | None) -> None:
    """Turn the layers of a dynamic cache into `PrunedLayer`s, in place.

    Args:
        cache: layers that hold something were written in full so far.
        depth: number of decoder layers; missing layers are added.
        valid: real entries among the tokens seen so far, bool `[B, seen]`, or None for all.

    Raises:
        ValueError: the cache is not made of plain dynamic layers (static, sliding, quantised).
    """
    while len(cache.layers) < depth:
        cache.layers.append(PrunedLayer())
    for i, layer in enumerate(cache.layers):
        if isinstance(layer, PrunedLayer):
            continue
        if type(layer) is not DynamicLayer:
            raise ValueError(
                f"past_key_values holds a {type(layer).__name__} at layer {i}: pruning needs a "
                "DynamicCache of full-attention layers, so leave `cache_implementation` unset"
            )
        pruned = PrunedLayer.of(layer)
        stored = pruned.stored
        if valid is not None and stored:
            pruned.valid = valid[:, :stored]
        cache.layers[i] = pruned


def drop_entries(layer: PrunedLayer, past: int, order: Tensor, valid: Tensor | None) -> None:
    """Drop tokens of the running prefill from a layer that has already cached them.

    Args:
        layer: holds `past` earlier entries, then the S of this prefill.
        past: entries of earlier turns, which stay.
        order: the S' of S entries that stay (per row, ascending), long `[B, S']`.
        valid: real entries among those S', bool `[B, S']`, or None for all.
    """
    before = layer.stored
    layer.keys = _take(layer.keys, past, order)
    layer.values = _take(layer.values, past, order)
    earlier = None if layer.valid is None else layer.valid[:, :past]
    layer.valid = concatenate_valid(earlier, past, valid, order.shape[1], order.shape[0])
    layer.dropped += before - layer.stored


def _take(states: Tensor, past: int, order: Tensor) -> Tensor:
    """Entries `past + order` of `[B, H, past + S, D]`, behind the first `past`."""
    order = order.to(states.device)
    recent = states[:, :, past:]
    if order.shape[0] == 1:
        kept = recent.index_select(2, order[0])
    else:
        kept = recent.take_along_dim(order[:, None, :, None], dim=2)
    return torch.cat([states[:, :, :past], kept], dim=2) if past else kept


def concatenate_valid(
    first: Tensor | None, n_first: int, second: Tensor | None, n_second: int, batch: int
) -> Tensor | None:
    """Two validity masks side by side, bool `[B, n_first + n_second]`; None stands for all real."""
    if first is None and second is None:
        return None
    device = (first if first is not None else second).device  # type: ignore[union-attr]
    if first is None:
        first = torch.ones(batch, n_first, dtype=torch.bool, device=device)
    if second is None:
        second = torch.ones(batch, n_second, dtype=torch.bool, device=device)
    return torch.cat([first, second.to(device)], dim=1)
