"""A tiny Gemma 4 with experts: at most 70 tokens an image, windows first and last but one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import (
    Gemma4Config,
    Gemma4ForConditionalGeneration,
    Gemma4TextConfig,
    Gemma4VisionConfig,
    PreTrainedModel,
)
from transformers.models.gemma4.image_processing_pil_gemma4 import Gemma4ImageProcessorPil

from ...models.gemma4 import ImagesProcessor
from .tokenizer import byte_level_tokenizer, text_settings

NAMED_TOKENS = {
    "boi_token": "<|image>",
    "eoi_token": "<image|>",
    "image_token": "<|image|>",
    "boa_token": "<|audio>",
    "eoa_token": "<audio|>",
    "audio_token": "<|audio|>",
}
CHAT_TEMPLATE = """\
{%- for message in messages -%}
<|turn>{{ message.role }}
{% for part in message.content -%}
{%- if part.type == 'image' -%}<|image|>
{%- else -%}{{ part.text }}{%- endif -%}
{%- endfor -%}
<turn|>
{% endfor -%}
{%- if add_generation_prompt -%}<|turn>model
{% endif -%}
"""
WINDOW = 24
_EXPERTS: dict[str, Any] = {
    "enable_moe_block": True,
    "num_experts": 4,
    "top_k_experts": 2,
    "moe_intermediate_size": 32,
}


def build(depth: int) -> tuple[PreTrainedModel, Any]:
    """Not five windows to one as in the checkpoints: stages may ask any of few layers."""
    between = ["full_attention"] * (depth - 2)
    return build_of_layers(["sliding_attention", *between, "full_attention"])


def build_of_layers(
    layer_types: Sequence[str], per_layer_width: int = 0
) -> tuple[PreTrainedModel, Any]:
    """With layers of these types, and inputs of that width of their own; the last must be full."""
    special = ("<pad>", "<|im_end|>", "<|turn>", "<turn|>", "<|video|>")
    tokenizer = byte_level_tokenizer((*special, *NAMED_TOKENS.values()), **NAMED_TOKENS)
    ids = tokenizer.get_vocab()
    full = {"rope_type": "proportional", "partial_rotary_factor": 0.5, "rope_theta": 1e4}
    text = text_settings(tokenizer, len(layer_types)) | {
        "head_dim": 16,
        "global_head_dim": 32,
        "num_global_key_value_heads": 1,
        "attention_k_eq_v": True,
        "sliding_window": WINDOW,
        "layer_types": list(layer_types),
        "hidden_size_per_layer_input": per_layer_width,
        "vocab_size_per_layer_input": len(tokenizer),
        "use_bidirectional_attention": "vision",
        "rope_parameters": {
            "full_attention": full,
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e2},
        },
    }
    config = Gemma4Config(
        text_config=Gemma4TextConfig(**text, **_EXPERTS),
        vision_config=Gemma4VisionConfig(
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            head_dim=16,
            patch_size=4,
            position_embedding_size=256,
        ),
        image_token_id=ids["<|image|>"],
        boi_token_id=ids["<|image>"],
        eoi_token_id=ids["<image|>"],
        video_token_id=ids["<|video|>"],
    )
    images = Gemma4ImageProcessorPil(patch_size=4, max_soft_tokens=70)
    model = Gemma4ForConditionalGeneration(config)
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model, ImagesProcessor(images, tokenizer, chat_template=CHAT_TEMPLATE)
