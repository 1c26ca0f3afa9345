"""The model inside of what compiles, adapts, shards or replicates it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from torch import nn
from transformers import PreTrainedModel

PLACES = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "module")
"""Where wrappers of PyTorch and of the libraries around it keep what they wrap."""


def unwrapped(model: nn.Module) -> nn.Module:
    """The model that a wrapper, or several around one another, calls in the end.

    Known are `torch.compile`, DDP, FSDP, DataParallel and all else that has a `module`, what has
    `get_base_model()`, as PEFT's models do, and any module around a single transformers model. A
    model that is not wrapped comes back itself.

    Raises:
        TypeError: it is no module at all.
    """
    if not isinstance(model, nn.Module):
        held = isinstance(getattr(model, "model", None), nn.Module)  # as pipelines do
        raise TypeError(
            f"model is a {type(model).__name__}, which is no torch.nn.Module: "
            + (
                "pass its `model`"
                if held
                else "load it with from_pretrained, and pass what that gives"
            )
        )
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
    return _only_model_in(model)


def _only_model_in(module: nn.Module) -> PreTrainedModel | None:
    """The single transformers model in a module; None where it is a part among others.

    A family's own class may consist of such models: it then has a configuration of another type.
    """
    found = list(_outermost(module))
    if len(found) != 1:
        return None
    own = getattr(vars(module).get("config"), "model_type", None)
    return found[0] if own in (None, getattr(found[0].config, "model_type", None)) else None


def _outermost(module: nn.Module) -> Iterator[PreTrainedModel]:
    for child in module.children():
        if isinstance(child, PreTrainedModel):
            yield child
        else:
            yield from _outermost(child)


def _has(model: nn.Module, name: str) -> bool:
    own = vars(model)
    return name in own or name in own.get("_modules", ()) or hasattr(type(model), name)
