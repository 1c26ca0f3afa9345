"""A tiny Qwen3.5: recurrent layers first and last, gated attention between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import (
    PreTrainedModel,
    Qwen3_5Config,
    Qwen3_5ForConditionalGeneration,
    Qwen3_5MoeConfig,
    Qwen3_5MoeForConditionalGeneration,
)

from ...models.qwen.processors import QWEN_TOKENS, Qwen3Processor
from .qwen2_5_vl import build_processor, language_part
from .tokenizer import byte_level_tokenizer

_EXPERTS = {
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 32,
}


def build(depth: int) -> tuple[PreTrainedModel, Any]:
    return build_of_layers(_layer_types(depth))


def build_moe(depth: int) -> tuple[PreTrainedModel, Any]:
    """With a mixture of experts."""
    settings, processor = _settings(_layer_types(depth))
    text = settings["text_config"]
    text |= _EXPERTS
    return _finished(Qwen3_5MoeForConditionalGeneration(Qwen3_5MoeConfig(**settings)), processor)


def build_of_layers(layer_types: Sequence[str]) -> tuple[PreTrainedModel, Any]:
    """With layers of these types, for example three recurrent ones to each of full attention."""
    settings, processor = _settings(layer_types)
    return _finished(Qwen3_5ForConditionalGeneration(Qwen3_5Config(**settings)), processor)


def _layer_types(depth: int) -> list[str]:
    """Not three to one as in the checkpoints: stages may ask any of few layers for attention."""
    return ["linear_attention", *["full_attention"] * (depth - 2), "linear_attention"]


def _settings(layer_types: Sequence[str]) -> tuple[dict[str, Any], Any]:
    tokenizer = byte_level_tokenizer(QWEN_TOKENS)
    settings = language_part(tokenizer, len(layer_types))
    rope = {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}
    settings["text_config"] |= {
        "layer_types": list(layer_types),
        "head_dim": 16,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "linear_key_head_dim": 16,
        "linear_value_head_dim": 16,
        "rope_parameters": rope | {"mrope_section": [2, 1, 1]},
    }
    settings["vision_config"] = {
        "hidden_size": 32,
        "out_hidden_size": 64,
        "intermediate_size": 48,
        "depth": 2,
        "num_heads": 2,
        "patch_size": 14,  # the checkpoints' is 16: tests share their pictures with others
        "num_position_embeddings": 64,
    }
    return settings, build_processor(Qwen3Processor, tokenizer)


def _finished(model: PreTrainedModel, processor: Any) -> tuple[PreTrainedModel, Any]:
    for name, parameter in model.named_parameters():
        if name.endswith("A_log"):
            # a state that outlives a picture: with the default one, mistakes are soon forgotten
            torch.nn.init.constant_(parameter, -3.5)
    model.generation_config.pad_token_id = processor.tokenizer.pad_token_id
    return model, processor
