"""What decoder layers got and made in a forward call of an unpruned model."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import DynamicCache
from transformers.cache_utils import Cache

from ...models.base import Family
from ...models.rotary import Rotary
from ...pruning.caches.names import cache_parameter


@dataclass(eq=False)
class RecordedLayer:
    """A decoder layer in one forward call.

    Attributes:
        hidden: its input, `[B, S, E]`.
        rotary: its rotary embedding.
        keys, values: what it has cached; not set where that is no tokens.
        weights: of its attention, `[B, H, S, S]`; None where no module returns them.
    """

    module: nn.Module
    hidden: Tensor = field(init=False)
    rotary: Rotary = field(init=False)
    keys: Tensor = field(init=False)
    values: Tensor = field(init=False)
    weights: Tensor | None = None

    def given(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        self.hidden, self.rotary = args[0], kwargs.get("position_embeddings")

    def returned(self, module: nn.Module, args: Any, output: Any) -> None:
        """Weights are what a module of the layer returns beside its output."""
        parts = output if isinstance(output, tuple) else ()
        for part in parts[1:]:
            if isinstance(part, Tensor) and part.dim() == 4:
                self.weights = part


def recorded_layers(family: Family, model: Any, inputs: Mapping[str, Any]) -> list[RecordedLayer]:
    """The decoder layers of a model, as they ran on inputs."""
    layers = [RecordedLayer(layer) for layer in family.layers(model)]
    decoder: Any = family.text_model(model)
    cache: Cache = DynamicCache(config=decoder.config)
    with ExitStack() as stack, torch.no_grad():
        for layer in layers:
            hook = layer.module.register_forward_pre_hook(layer.given, with_kwargs=True)
            stack.callback(hook.remove)
            for part in layer.module.modules():
                stack.callback(part.register_forward_hook(layer.returned).remove)
        model(**inputs, **{cache_parameter(model.forward): cache}, use_cache=True)
    for layer, cached in zip(layers, cache.layers, strict=False):
        if isinstance(keys := getattr(cached, "keys", None), Tensor):
            layer.keys, layer.values = keys, cast(Any, cached).values
    return layers
