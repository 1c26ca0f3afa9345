"""A tiny Qwen2-VL: four patches of 14 pixels a token, a vision tower of two blocks."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedModel, Qwen2VLConfig, Qwen2VLForConditionalGeneration

from ...models.qwen.processors import QWEN_TOKENS, Qwen2Processor
from .qwen2_5_vl import build_processor, language_part
from .tokenizer import byte_level_tokenizer


def build(depth: int) -> tuple[PreTrainedModel, Any]:
    tokenizer = byte_level_tokenizer(QWEN_TOKENS)
    config = Qwen2VLConfig(
        vision_config={
            "embed_dim": 32,
            "hidden_size": 64,
            "mlp_ratio": 2,
            "depth": 2,
            "num_heads": 2,
        },
        **language_part(tokenizer, depth),
    )
    model = Qwen2VLForConditionalGeneration(config)
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model, build_processor(Qwen2Processor, tokenizer)
