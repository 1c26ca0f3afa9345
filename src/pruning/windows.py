"""Sliding windows over a sequence that has lost tokens: they are measured where it was whole."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicSlidingWindowLayer

from .kv_cache import PrunedLayer


class WindowLayer(PrunedLayer):
    """A pruned layer whose tokens are seen within a window of `sliding_window` tokens.

    While a prompt is read it holds what the prompt leaves, so that stages can drop from it. After
    that it holds the last `sliding_window - 1` entries of each sequence: at least those that the
    next token can see, since what was dropped only pushes others further back.
    """

    is_sliding = True

    def __init__(self, sliding_window: int = 0) -> None:
        super().__init__()
        self.sliding_window = sliding_window


def make_windows(cache: Cache | None) -> None:
    """Turn a cache's sliding layers into `WindowLayer`s, and let those forget what is far behind.

    Before the masks of a forward call are made: they then have a column for each token ever seen.
    """
    if cache is None:
        return
    sliced: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
    for index, layer in enumerate(cache.layers):
        if type(layer) is DynamicSlidingWindowLayer:
            cache.layers[index] = _window(layer)
        elif isinstance(layer, WindowLayer):
            _forget(layer, sliced)


def _window(layer: Any) -> WindowLayer:
    """The same entries; those that it has forgotten were the first ones."""
    window = WindowLayer.of(layer)
    forgotten = int(layer.get_seq_length()) - window.stored
    if forgotten:
        window.lose(forgotten)
    return window


def _forget(layer: WindowLayer, sliced: dict[tuple[int, int], tuple[Tensor, Tensor]]) -> None:
    """Forget the entries that no later token can see.

    Args:
        sliced: masks that have been cut, and what they became: layers alike share them.
    """
    keep, stored = layer.sliding_window - 1, layer.stored
    if stored <= keep:
        return

    def cut(x: Tensor | None) -> Tensor | None:
        if x is None:
            return None
        key = (id(x), keep)
        if key not in sliced:
            sliced[key] = (x, x[:, stored - keep :])
        return sliced[key][1]

    assert layer.keys is not None
    assert layer.values is not None
    layer.keys = layer.keys[:, :, stored - keep :]
    layer.values = layer.values[:, :, stored - keep :]
    layer.valid, layer.index = cut(layer.valid), cut(layer.index)
    layer.lose(stored - keep)


class OwnMasks:
    """The masks that a decoder makes for one call, at the rows and columns of what is left.

    Blocks that see themselves whole and windows stay what they were: a mask made anew by the
    entries of a pruned cache would open a window to tokens further back.
    """

    def __init__(self, seen: int) -> None:
        """For a call that comes after so many tokens of each sequence."""
        self._seen = seen
        self._extended: dict[tuple[int, ...], tuple[Tensor | None, Tensor]] = {}
        self._taken: dict[tuple[int, ...], tuple[tuple[Tensor | None, ...], Tensor]] = {}

    def extend(self, layer: PrunedLayer, past: int, hidden: Tensor, origin: Tensor | None) -> None:
        """Write down where the tokens of this call were when nothing had been dropped.

        Args:
            layer: about to cache them, behind its `past` entries.
            hidden: its input, `[B, Q, E]`.
            origin: their slots in the input of a prefill, long `[B, Q]`; None where all are there.
        """
        batch, length = hidden.shape[:2]
        key = (id(layer.index), id(origin), past, length)
        if key not in self._extended:
            earlier = layer.index
            if earlier is None:  # it has lost nothing but the first ones
                earlier = torch.arange(self._seen - past, self._seen, device=hidden.device)
                earlier = earlier.expand(batch, -1)
            new = torch.arange(length, device=hidden.device) if origin is None else origin
            both = torch.cat([earlier, self._seen + new.to(earlier.device).expand(batch, -1)], 1)
            self._extended[key] = (layer.index, both)
        layer.index = self._extended[key][1]

    def mask(
        self, given: Any, layer: PrunedLayer, origin: Tensor | None, valid: Tensor | None
    ) -> Tensor:
        """A layer's mask, `[B, 1, Q, K]`, from what the decoder made for it.

        Args:
            given: with a column for each token seen, `[B, 1, S, P + S]`, bool or additive.
            layer: the layer's cache, whose `index` knows the K entries already.
            origin: see `extend`.
            valid: real ones among the entries, bool `[B, K]`, or None for all.

        Raises:
            ValueError: it is a mask of another kind.
        """
        if not isinstance(given, Tensor) or given.dim() != 4:
            raise ValueError(
                f"a layer's mask is a {type(given).__name__}"
                f"{f' of {given.dim()} dimensions' if isinstance(given, Tensor) else ''}: pruning "
                "keeps the windows and blocks of this model's own masks, which only the attention "
                "implementations 'sdpa' and 'eager' have"
            )
        assert layer.index is not None
        parts = (given, layer.index, origin, valid)
        key = tuple(map(id, parts))
        if key not in self._taken:
            # the tensors are held too, so that their ids cannot be given to others
            self._taken[key] = (parts, _taken(given, layer.index, origin, valid))
        return self._taken[key][1]


def _taken(given: Tensor, index: Tensor, origin: Tensor | None, valid: Tensor | None) -> Tensor:
    rows = torch.arange(len(index), device=given.device)[:, None, None]
    columns = index.to(given.device)[:, None]
    queries = torch.arange(given.shape[2], device=given.device)[None]
    if origin is not None:
        queries = origin.to(given.device)
    mask = given.expand(len(index), *given.shape[1:])[rows, 0, queries[:, :, None], columns]
    if valid is not None:
        hidden = ~valid.to(given.device)[:, None]
        lowest = False if mask.dtype is torch.bool else torch.finfo(mask.dtype).min
        mask = mask.masked_fill(hidden, lowest)
    return mask[:, None]
