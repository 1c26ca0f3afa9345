"""Weights that accelerate brings in for a layer's forward call, at hand outside of it too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


@contextmanager
def weights_at_hand(layer: nn.Module) -> Iterator[None]:
    """Inside, the parts of a layer can be called alone.

    With `preload_module_classes` accelerate loads a layer's weights as a whole, by a hook on the
    layer: called without the layer, its projections have none. Elsewhere each part has its own
    hook, or nothing is offloaded, and nothing is done.
    """
    hook: Any = getattr(layer, "_hf_hook", None)
    absent = getattr(hook, "place_submodules", False) and any(p.is_meta for p in layer.parameters())
    if absent:
        hook.pre_forward(layer)
    try:
        yield
    finally:
        if absent:
            hook.post_forward(layer, None)
