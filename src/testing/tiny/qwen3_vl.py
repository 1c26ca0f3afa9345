"""A tiny Qwen3-VL: four patches of 14 pixels a token, DeepStack features after layers 0, 1, 2."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedModel, Qwen3VLConfig, Qwen3VLForConditionalGeneration

from ...models.qwen.processors import QWEN_TOKENS, Qwen3Processor
from .qwen2_5_vl import build_processor, language_part
from .tokenizer import byte_level_tokenizer


def settings(tokenizer: Any, depth: int) -> dict[str, Any]:
    """What the configurations with and without experts have in common."""
    shared = language_part(tokenizer, depth)
    shared["text_config"]["head_dim"] = 16
    shared["text_config"]["rope_parameters"]["mrope_section"] = [4, 2, 2]
    vision = {
        "hidden_size": 32,
        "out_hidden_size": 64,
        "intermediate_size": 48,
        "depth": 3,
        "num_heads": 2,
        "patch_size": 14,  # the checkpoints' is 16: tests share their pictures with others
        "num_position_embeddings": 64,
        "deepstack_visual_indexes": [0, 1, 2],
    }
    return {"vision_config": vision, **shared}


def build(depth: int) -> tuple[PreTrainedModel, Any]:
    tokenizer = byte_level_tokenizer(QWEN_TOKENS)
    model = Qwen3VLForConditionalGeneration(Qwen3VLConfig(**settings(tokenizer, depth)))
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model, build_processor(Qwen3Processor, tokenizer)
