"""The model inside of what compiles, adapts, shards or replicates it."""

from __future__ import annotations

from typing import Any, cast

from torch import nn
from transformers import PreTrainedModel

PLACES = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "module")
"""Where wrappers of PyTorch and of the libraries around it keep what they wrap."""


def unwrapped(model: nn.Module) -> nn.Module:
    """The model that a wrapper, or several around one another, calls in the end.

    Known are `torch.compile`, DDP, FSDP, DataParallel and all else that has a `module`, and PEFT's
    models, which have `get_base_model()`. A model that is not wrapped comes back itself.
    """
    while (inner := _inside(model)) is not None:
        model = inner
    return model


def _inside(model: nn.Module) -> nn.Module | None:
    """What a wrapper wraps, or None for what is none.

    Most wrappers pass on look-ups of names that they do not have, so only their own ones tell.
    """
    if isinstance(model, PreTrainedModel) and not _has(model, PLACES[0]):
        return None
    for place in PLACES:
        if _has(model, place) and isinstance(inner := getattr(model, place), nn.Module):
            return inner
    if _has(model, "get_base_model"):
        base = cast(Any, model).get_base_model()
        return base if isinstance(base, nn.Module) and base is not model else None
    return None


def _has(model: nn.Module, name: str) -> bool:
    own = vars(model)
    return name in own or name in own.get("_modules", ()) or hasattr(type(model), name)
