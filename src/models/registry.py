"""Which family a model belongs to."""

from __future__ import annotations

from torch import nn

from .base import Family
from .llava import Llava
from .qwen2_5_vl import Qwen25VL

FAMILIES: tuple[Family, ...] = (Llava(), Qwen25VL())


def supported() -> list[str]:
    """Names of the supported families."""
    return sorted(family.name for family in FAMILIES)


def family_named(name: str) -> Family:
    """The family of that name; ValueError with the known ones otherwise."""
    for family in FAMILIES:
        if family.name == name:
            return family
    raise ValueError(f"unknown model family {name!r}: choose one of {', '.join(supported())}")


def family_of(model_type: str) -> Family:
    """The family that covers a `config.model_type`.

    Raises:
        ValueError: no family covers it; lists those that are supported.
    """
    for family in FAMILIES:
        if model_type in family.model_types:
            return family
    raise ValueError(
        f"model type {model_type!r} is not supported: ivcprune knows the families "
        f"{', '.join(supported())} (see docs/adding_a_model.md)"
    )


def family_of_model(model: nn.Module) -> Family:
    """The family of a loaded model, by its configuration."""
    config = getattr(model, "config", None)
    return family_of(getattr(config, "model_type", type(model).__name__))
