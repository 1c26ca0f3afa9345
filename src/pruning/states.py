"""Layers that keep one state of the sequence: recurrent layers and short convolutions."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers.cache_utils import Cache

from ..models.token_rules import holds_tokens


def state_mask(valid: Tensor | None, hidden: Tensor) -> Tensor | None:
    """Which tokens of a packed sequence may change the state, long `[B, S]`; None for all.

    On the left of a sequence that is exact: a state of zeros stays one, and a convolution sees
    zeros before its first token anyway. A token that is masked further on is NOT one that was left
    out: it lets the state decay, and stands between its neighbours in a convolution.

    Args:
        valid: real tokens of the sequence, bool `[B, S]`, or None for all.
        hidden: input of the layer, `[B, S, E]`.
    """
    return None if valid is None else valid.long().to(hidden.device)


class SavedStates:
    """The states of a cache at one time, to run its layers once more from there."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._saved = {
            index: _copied(vars(layer))
            for index, layer in enumerate(cache.layers)
            if not holds_tokens(layer)
        }

    def restore(self, index: int) -> None:
        """Give a layer its state of that time back, once."""
        layer = self._cache.layers[index]
        vars(layer).clear()
        vars(layer).update(self._saved.pop(index))


def _copied(value: Any) -> Any:
    """Tensors are written in place, so they are copied, in dictionaries too."""
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return value
