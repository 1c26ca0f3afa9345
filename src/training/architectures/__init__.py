"""The bundled models by name."""

from __future__ import annotations

from collections.abc import Mapping

from ...checks import check_choice
from .base import Architecture
from .internvl import TinyInternVL
from .llava import TinyLlava
from .qwen2_5_vl import TinyQwen

_QWEN, _LLAVA, _INTERNVL = TinyQwen(spelling=True), TinyLlava(), TinyInternVL()

ARCHITECTURES: Mapping[str, Architecture] = {
    "tiny": TinyQwen(spelling=False),
    "tiny_text": _QWEN,
    "tiny_llava": _LLAVA,
    "tiny_llava_text": _LLAVA,
    "tiny_internvl": _INTERNVL,
    "tiny_internvl_text": _INTERNVL,
}
"""By the name of their checkpoints; "_text" are those that also read."""


def architecture_named(name: str) -> Architecture:
    """The architecture that `model=<name>` trains.

    Raises:
        ValueError: unknown name.
    """
    check_choice("model.name", name, ARCHITECTURES)
    return ARCHITECTURES[name]
