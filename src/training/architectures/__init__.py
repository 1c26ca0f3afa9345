"""The bundled models by name."""

from __future__ import annotations

from collections.abc import Mapping

from ...checks import check_choice
from .base import Architecture
from .internvl import TinyInternVL
from .llava import TinyLlava
from .qwen2_5_vl import TinyQwen

ARCHITECTURES: Mapping[str, Architecture] = {
    architecture.name: architecture for architecture in (TinyQwen(), TinyLlava(), TinyInternVL())
}


def architecture_named(name: str) -> Architecture:
    """The architecture that `model=<name>` trains from random weights.

    Raises:
        ValueError: unknown name.
    """
    check_choice("model.name", name, ARCHITECTURES)
    return ARCHITECTURES[name]
