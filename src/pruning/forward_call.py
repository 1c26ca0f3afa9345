"""One call of a decoder on a cache that may have lost tokens: positions, validity and masks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from transformers.cache_utils import Cache

from ..models.rotary import Rotary
from ..models.token_rules import holds_tokens
from .caches.layer import PrunedLayer, concatenate_valid
from .masks import MaskFactory, OwnMasks, state_mask
from .memo import SameTensors
from .prefill import Prefill


class ForwardCall:
    """One call of the decoder: a prefill, or decoding on a cache that may have lost tokens."""

    def __init__(
        self,
        config: Any,
        cache: Cache | None,
        attention_mask: Any,
        positions: Tensor,
        rotary: Callable[[Tensor, Tensor], Rotary],
        own_masks: OwnMasks | None,
        needs_ids: bool = False,
        prefill: Prefill | None = None,
    ) -> None:
        self.prefill = prefill
        self.cache, self._attention_mask = cache, attention_mask
        self._positions, self._make_rotary = positions[0], rotary
        self._masks, self._own_masks = MaskFactory(config), own_masks
        self._needs_ids = needs_ids
        self._shifted: SameTensors[Rotary] = SameTensors()
        self._extended: SameTensors[Tensor | None] = SameTensors()

    def shifted(self, index: int, hidden: Tensor, kwargs: dict[str, Any]) -> dict[str, Any]:
        """The layer's keyword arguments, its positions behind those that an earlier turn gave."""
        layer = self._layer(index)
        if layer is None or layer.shift is None or (self.prefill and self.prefill.reassigned):
            return kwargs
        return {**kwargs, "position_embeddings": self._shifted_rotary(hidden, layer.shift)}

    def _layer(self, index: int) -> PrunedLayer | None:
        layers = [] if self.cache is None else self.cache.layers
        layer = layers[index] if index < len(layers) else None
        return layer if isinstance(layer, PrunedLayer) else None

    def for_cache(self, index: int, hidden: Tensor, kwargs: dict[str, Any]) -> dict[str, Any]:
        """The layer's keyword arguments, with a mask that fits a cache that lost tokens.

        Position ids are withheld there, but from layers that read them: FlashAttention takes ids
        with gaps for packed sequences.
        """
        layer = self._layer(index)
        if layer is None:
            return self._for_state(index, hidden, kwargs)
        past = layer.stored
        layer.valid = self._extend(layer.valid, past, hidden)
        given = kwargs.get("attention_mask")
        origin = None if self.prefill is None else self.prefill.origin
        if self._own_masks is not None:
            self._own_masks.extend(layer, past, hidden, origin)
        if not layer.altered:
            return kwargs
        if self._own_masks is None or given is None:  # None: every token sees all before it
            mask = self._masks.mask(hidden, past, layer.valid)
        else:
            mask = self._own_masks.mask(given, layer, origin, layer.valid)
        return {**kwargs, "attention_mask": mask, "position_ids": self._ids(layer, hidden)}

    def _ids(self, layer: PrunedLayer, hidden: Tensor) -> Tensor | None:
        if not self._needs_ids:
            return None
        positions = self._positions if self.prefill is None else self.prefill.positions
        positions = positions.to(hidden.device)
        reassigned = self.prefill is not None and self.prefill.reassigned
        if layer.shift is None or reassigned:
            return positions
        return positions - layer.shift.to(hidden.device)[:, None]

    def _for_state(self, index: int, hidden: Tensor, kwargs: dict[str, Any]) -> dict[str, Any]:
        """A layer that keeps a state of the sequence never sees what was dropped before it."""
        prefill = self.prefill
        if prefill is None or not prefill.pruned or self.cache is None:
            return kwargs
        if holds_tokens(self.cache.layers[index]):
            return kwargs
        return {**kwargs, "attention_mask": state_mask(prefill.valid, hidden)}

    def _shifted_rotary(self, hidden: Tensor, shift: Tensor) -> Rotary:
        """The rotary embedding at contiguous positions; layers alike share it."""

        def make() -> Rotary:
            # layers on another device have their shift there
            device = hidden.device
            positions = self._positions.to(device) - shift.to(device)[:, None]
            return self._make_rotary(hidden, positions)

        return self._shifted.once((shift,), make)

    def _extend(self, valid: Tensor | None, past: int, hidden: Tensor) -> Tensor | None:
        """Validity of the cache once the new tokens are in; layers alike share one tensor."""
        batch, length = hidden.shape[:2]
        # of a prefill: a stage may change the padding while the longest sample stays as long
        current = None if self.prefill is None else self.prefill.valid
        if valid is None and current is None and (self.prefill is not None or length == 1):
            return None
        return self._extended.once(
            (valid, current),
            lambda: concatenate_valid(valid, past, self._new_valid(length), length, batch),
            past,
            length,
        )

    def _new_valid(self, length: int) -> Tensor | None:
        if self.prefill is not None:
            return self.prefill.valid
        if length == 1 or not isinstance(self._attention_mask, Tensor):
            return None
        new = self._attention_mask[:, -length:].bool()
        return None if new.all() else new
