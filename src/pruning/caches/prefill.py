"""The caches of all layers during one prefill, from which stages drop entries."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn
from transformers.cache_utils import Cache

from ...models.token_rules import holds_tokens
from ..live_signals import LayerCache
from ..sequence.packing import Repack
from ..sequence.slots import PackedSequence
from ..statistics import CacheLayerSize
from .layer import PrunedLayer, drop_entries, forget_entries, prunable_layers, stored_length


class PrefillCaches:
    """What each layer has cached, of earlier turns of a conversation ("past") and of this prefill.

    Attributes:
        seen_valid: real tokens of all that was ever given to the model, bool `[B, P + S]`, or None
            for all.
    """

    def __init__(
        self,
        cache: Cache,
        layers: nn.ModuleList,
        seen_valid: Tensor | None,
        *,
        repeats: bool,
        indexed: bool,
    ) -> None:
        """The caches as they are before this prefill.

        Args:
            indexed: entries need to know where they were, see `PrunedLayer.index`.
            repeats: layers may be run again, from the states of now.
        """
        self.seen_valid = seen_valid
        self._cache, self._layers, self._indexed = cache, layers, indexed
        self._past = [stored_length(layer) for layer in cache.layers]
        self._past += [0] * (len(layers) - len(self._past))
        self._prunable: dict[int, PrunedLayer] = {}
        self._states = SavedStates(cache) if repeats else None

    def without_padding(self) -> None:
        """This prefill has none: with nothing before it, its caches need no mask.

        Processors give a mask of ones too.
        """
        if not any(self._past):
            self.seen_valid = None

    def of_layer(self, index: int) -> LayerCache:
        """What a layer has cached; a layer that has not run yet holds earlier turns, if any."""
        past, layer = self._past[index], None
        if index < len(self._cache.layers):
            layer = self._cache.layers[index]
        valid = self._valid(layer)
        return LayerCache(
            layer=self._layers[index],
            keys=getattr(layer, "keys", None),
            values=getattr(layer, "values", None),
            past=past,
            past_valid=None if valid is None else valid[:, :past],
        )

    def compact(
        self, layers: Iterable[int], sequence: PackedSequence, keep: Tensor, repack: Repack
    ) -> None:
        """Drop from these layers what a stage does not keep; of others it can be from now on.

        Args:
            sequence: before the stage.
            keep: what stays of it, bool `[B, S]`.
            repack: the packing of `keep`.
        """
        self._prunable = prunable_layers(
            self._cache, len(self._layers), self.seen_valid, self._indexed
        )
        packings: dict[tuple[int, ...], Repack] = {(): repack}
        for index in layers:
            # a layer has not got what joined above it
            missing = tuple(layer for layer in sequence.joined if layer > index)
            if missing not in packings:
                packings[missing] = sequence.packing_without(missing, keep)
            if (layer := self._prunable.get(index)) is not None:
                drop_entries(layer, self._past[index], packings[missing])

    def pruned(self, index: int) -> PrunedLayer | None:
        """A layer that entries can be dropped of; None where it holds none of tokens."""
        return self._prunable.get(index)

    def shift_from(self, index: int) -> Tensor | None:
        """The shift of positions at the first layer from this one on that holds tokens."""
        following = [layer for i, layer in self._prunable.items() if i >= index]
        return following[0].shift if following else None

    def forget_before(self, layer: int) -> None:
        """Drop all of this prefill's entries of the layers before this one, and reset states."""
        assert self._states is not None
        for index in range(layer):
            if (pruned := self._prunable.get(index)) is not None:
                forget_entries(pruned, self._past[index])
            else:
                self._states.restore(index)

    def sizes(self) -> list[CacheLayerSize]:
        """What each layer that holds tokens holds of this prefill, once all have run."""
        layers = self._cache.layers[: len(self._layers)]
        return [self._size(i) for i, layer in enumerate(layers) if holds_tokens(layer)]

    def _size(self, index: int) -> CacheLayerSize:
        layer: Any = self._cache.layers[index]
        past, valid = self._past[index], self._valid(layer)
        token_bytes = [
            x.shape[1] * x.shape[3] * x.element_size() for x in (layer.keys, layer.values)
        ]
        return CacheLayerSize(
            stored=stored_length(layer) - past,
            valid=None if valid is None else valid[:, past:],
            bytes_per_token=sum(token_bytes),
        )

    def _valid(self, layer: Any) -> Tensor | None:
        return layer.valid if isinstance(layer, PrunedLayer) else self.seen_valid


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
