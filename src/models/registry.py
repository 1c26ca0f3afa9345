"""Which family a model belongs to: the families of this package, and those that plugins bring."""

from __future__ import annotations

import sys
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from torch import nn

from ..checks import one_line
from .base import Family
from .deepseek_vl2 import DeepseekVL2
from .gemma3 import Gemma3
from .gemma4 import Gemma4
from .glm4v import Glm4v
from .idefics3 import Idefics3
from .internvl.family import InternVL
from .llava import Llava
from .llava_next import LlavaNext
from .llava_onevision.family import LlavaOnevision
from .mistral3 import Mistral3
from .not_covered import refusal
from .paddleocr_vl import PaddleOcrVL
from .qwen.qwen2_5_vl import Qwen25VL
from .qwen.qwen2_vl import Qwen2VL
from .qwen.qwen3_5 import Qwen35, Qwen35Moe
from .qwen.qwen3_vl import Qwen3VL, Qwen3VLMoe

FAMILIES: tuple[Family, ...] = (
    DeepseekVL2(),
    Gemma3(),
    Gemma4(),
    Glm4v(),
    Idefics3(),
    InternVL(),
    Llava(),
    LlavaNext(),
    LlavaOnevision(),
    Mistral3(),
    PaddleOcrVL(),
    Qwen25VL(),
    Qwen2VL(),
    Qwen35(),
    Qwen35Moe(),
    Qwen3VL(),
    Qwen3VLMoe(),
)
"""Of this package; sorted by name."""

PLUGINS = "ivcprune.families"
"""Entry-point group whose values are `Family` subclasses or instances."""


@cache  # asked for again and again; a broken plugin is reported once
def families() -> tuple[Family, ...]:
    """All families; those of this package come first, and so win."""
    known = list(FAMILIES)
    for plugin in sorted(entry_points(group=PLUGINS)):
        try:
            known.append(_load(plugin, {family.name for family in known}))
        except Exception as error:  # a stranger's code, which may raise anything
            print(f"family plugin {plugin.name!r} is left out: {one_line(error)}", file=sys.stderr)
    return tuple(known)


def _load(plugin: EntryPoint, taken: set[str]) -> Family:
    """The family of an entry point.

    Raises:
        ImportError: it cannot be imported.
        TypeError: it is no family, or not a complete one.
        ValueError: its name is taken.
    """
    try:
        found = plugin.load()
        family: object = found() if isinstance(found, type) else found
    except Exception as error:
        raise ImportError(
            f"{plugin.value} cannot be made ({type(error).__name__}: {one_line(error)})"
        ) from error
    if not isinstance(family, Family):
        raise TypeError(f"{plugin.value} is {found!r}, no ivcprune.models.base.Family")
    if not isinstance(getattr(family, "model_types", None), tuple):
        raise TypeError(f"{plugin.value} has no tuple `model_types`")
    if family.name in taken:
        raise ValueError(f"there is a family {family.name!r} already: give it another name")
    return family


def supported() -> list[str]:
    """Names of the supported families."""
    return sorted(family.name for family in families())


def family_named(name: str) -> Family:
    """The family of that name; ValueError with the known ones otherwise."""
    for family in families():
        if family.name == name:
            return family
    raise ValueError(f"unknown model family {name!r}: choose one of {', '.join(supported())}")


def family_of(model_type: str) -> Family:
    """The family that covers a `config.model_type`.

    Raises:
        ValueError: no family covers it; says what one would have to, where the type is known, and
            lists those that are supported.
    """
    for family in families():
        if model_type in family.model_types:
            return family
    raise ValueError(refusal(model_type, ", ".join(supported())))


def family_of_model(model: nn.Module) -> Family:
    """The family of a loaded model, by its configuration."""
    config = getattr(model, "config", None)
    return family_of(getattr(config, "model_type", type(model).__name__))
