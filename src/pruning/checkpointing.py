"""Gradient checkpointing, which takes the cache away that a selection reads and prunes."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn


def is_checkpointed(layers: Iterable[nn.Module]) -> bool:
    """Whether the layers will run again in the backward pass of the call that begins."""
    return torch.is_grad_enabled() and any(map(_runs_again, layers))


def refuse_checkpointing() -> None:
    """Raises ValueError: a selection cannot be made in such a call."""
    raise ValueError(
        "gradient checkpointing runs layers without a key-value cache, which a selection reads and "
        "prunes: call model.gradient_checkpointing_disable() before the prune block (what is "
        "pruned saves memory too), or torch.no_grad() where no gradients are needed"
    )


def _runs_again(layer: nn.Module) -> bool:
    wrapped = "_checkpoint_wrapped_module" in layer._modules  # torch.distributed's wrapper
    return wrapped or (layer.training and bool(getattr(layer, "gradient_checkpointing", False)))
