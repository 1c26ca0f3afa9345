"""Weights that are there for a layer's own forward call alone, at hand outside of it too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor


@contextmanager
def weights_at_hand(layer: nn.Module) -> Iterator[None]:
    """Inside, the parts of a layer can be called alone.

    With `preload_module_classes` accelerate loads a layer's weights as a whole, by a hook on the
    layer, and `fully_shard` gathers them so: called without the layer, its projections have none.
    Elsewhere each part has its own hook, or the weights are there, and nothing is done.
    """
    bring, take_away = _transport(layer)
    bring()
    try:
        yield
    finally:
        take_away()


def _transport(layer: Any) -> tuple[Callable[[], object], Callable[[], object]]:
    """What brings the weights of a layer, and what takes them away again."""
    hook: Any = getattr(layer, "_hf_hook", None)
    weights = list(layer.parameters())
    if getattr(hook, "place_submodules", False) and any(weight.is_meta for weight in weights):
        return partial(hook.pre_forward, layer), partial(hook.post_forward, layer, None)
    if isinstance(layer, FSDPModule) and any(isinstance(weight, DTensor) for weight in weights):
        return layer.unshard, layer.reshard
    return _nothing, _nothing


def _nothing() -> None:
    pass
