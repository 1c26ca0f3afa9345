"""A tiny Qwen3-VL with four experts in each decoder layer, two of them at work."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedModel, Qwen3VLMoeConfig, Qwen3VLMoeForConditionalGeneration

from ...models.qwen.processors import QWEN_TOKENS, Qwen3Processor
from .qwen2_5_vl import build_processor
from .qwen3_vl import settings
from .tokenizer import byte_level_tokenizer


def build(depth: int) -> tuple[PreTrainedModel, Any]:
    tokenizer = byte_level_tokenizer(QWEN_TOKENS)
    given = settings(tokenizer, depth)
    given["text_config"] |= {
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 48,
    }
    model = Qwen3VLMoeForConditionalGeneration(Qwen3VLMoeConfig(**given))
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model, build_processor(Qwen3Processor, tokenizer)
