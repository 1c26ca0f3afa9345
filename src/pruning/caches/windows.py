"""Sliding windows over a sequence that has lost tokens: they are measured where it was whole."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers.cache_utils import Cache, DynamicSlidingWindowLayer

from ..memo import SameTensors
from .layer import PrunedLayer


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
    sliced: SameTensors[Tensor] = SameTensors()
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


def _forget(layer: WindowLayer, sliced: SameTensors[Tensor]) -> None:
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
        return sliced.once((x,), lambda: x[:, stored - keep :], keep)

    assert layer.keys is not None
    assert layer.values is not None
    layer.keys = layer.keys[:, :, stored - keep :]
    layer.values = layer.values[:, :, stored - keep :]
    layer.valid, layer.index = cut(layer.valid), cut(layer.index)
    layer.lose(stored - keep)
