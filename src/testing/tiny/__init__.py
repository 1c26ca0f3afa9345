"""Tiny models of every family: random weights from config classes, and a processor, offline."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers import PreTrainedModel

from . import (
    deepseek_vl2,
    gemma3,
    gemma4,
    glm4v,
    idefics3,
    internvl,
    llava,
    llava_next,
    llava_onevision,
    mistral3,
    paddleocr_vl,
    qwen2_5_vl,
    qwen2_vl,
    qwen3_5,
    qwen3_vl,
    qwen3_vl_moe,
)

_BUILDERS: dict[str, Callable[[int], tuple[PreTrainedModel, Any]]] = {
    "deepseek_vl2": deepseek_vl2.build,
    "gemma3": gemma3.build,
    "gemma4": gemma4.build,
    "glm4v": glm4v.build,
    "idefics3": idefics3.build,
    "internvl": internvl.build,
    "llava": llava.build,
    "llava_next": llava_next.build,
    "llava_onevision": llava_onevision.build,
    "mistral3": mistral3.build,
    "paddleocr_vl": paddleocr_vl.build,
    "qwen2_5_vl": qwen2_5_vl.build,
    "qwen2_vl": qwen2_vl.build,
    "qwen3_5": qwen3_5.build,
    "qwen3_5_moe": qwen3_5.build_moe,
    "qwen3_vl": qwen3_vl.build,
    "qwen3_vl_moe": qwen3_vl_moe.build,
}
"""By family; each takes the number of decoder layers."""


def tiny_model(family: str, *, depth: int = 4, seed: int = 0) -> tuple[PreTrainedModel, Any]:
    """A random model of a family in evaluation mode, in float32, and a processor for it.

    Args:
        family: family name, see `ivcprune.models.registry.supported`.
        depth: number of decoder layers.
        seed: of the weights; the global random state is left as it was.

    Raises:
        ValueError: no tiny model of that family.
    """
    if family not in _BUILDERS:
        raise ValueError(
            f"no tiny model of family {family!r}: choose one of {', '.join(sorted(_BUILDERS))}"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, processor = _BUILDERS[family](depth)
        for parameter in model.parameters():
            if parameter.dim() > 1:
                # the default of 0.02 leaves attention uniform, which hides mistakes
                torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
    return model.eval(), processor
