"""A tiny Gemma 3: 4 x 4 tokens an image, windows of 24 tokens first and last, full ones between."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import (
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3Processor,
    Gemma3TextConfig,
    PreTrainedModel,
    SiglipVisionConfig,
)
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil

from .tokenizer import byte_level_tokenizer, text_settings

NAMED_TOKENS = {
    "boi_token": "<start_of_image>",
    "eoi_token": "<end_of_image>",
    "image_token": "<image_soft_token>",
}
CHAT_TEMPLATE = """\
{%- for message in messages -%}
<start_of_turn>{{ message.role }}
{% for part in message.content -%}
{%- if part.type == 'image' -%}<start_of_image>
{%- else -%}{{ part.text }}{%- endif -%}
{%- endfor -%}
<end_of_turn>
{% endfor -%}
{%- if add_generation_prompt -%}<start_of_turn>model
{% endif -%}
"""
WINDOW, SIDE = 24, 56


def build(depth: int) -> tuple[PreTrainedModel, Any]:
    """Not five windows to one as in the checkpoints: stages may ask any of few layers."""
    between = ["full_attention"] * (depth - 2)
    return build_of_layers(["sliding_attention", *between, "sliding_attention"])


def build_of_layers(layer_types: Sequence[str]) -> tuple[PreTrainedModel, Any]:
    """With layers of these types."""
    special = ("<pad>", "<|im_end|>", "<start_of_turn>", "<end_of_turn>")
    tokenizer = byte_level_tokenizer((*special, *NAMED_TOKENS.values()), **NAMED_TOKENS)
    ids = tokenizer.get_vocab()
    rope = {"rope_type": "default"}
    text = text_settings(tokenizer, len(layer_types)) | {
        "head_dim": 16,
        "query_pre_attn_scalar": 16,
        "sliding_window": WINDOW,
        "layer_types": list(layer_types),
        "rope_parameters": {
            "full_attention": rope | {"rope_theta": 1e4},
            "sliding_attention": rope | {"rope_theta": 1e2},
        },
    }
    config = Gemma3Config(
        text_config=Gemma3TextConfig(**text),
        vision_config=SiglipVisionConfig(
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=2,
            patch_size=7,
            image_size=SIDE,
            vision_use_head=False,
        ),
        mm_tokens_per_image=16,
        image_token_index=ids["<image_soft_token>"],
        boi_token_index=ids["<start_of_image>"],
        eoi_token_index=ids["<end_of_image>"],
    )
    image_processor = Gemma3ImageProcessorPil(size={"height": SIDE, "width": SIDE})
    processor = Gemma3Processor(
        image_processor, tokenizer, chat_template=CHAT_TEMPLATE, image_seq_length=16
    )
    model = Gemma3ForConditionalGeneration(config)
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model, processor
