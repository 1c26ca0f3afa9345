"""A tiny LLaVA-1.5: 6 x 6 visual tokens an image."""

from __future__ import annotations

from typing import Any

from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedModel,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from .tokenizer import byte_level_tokenizer, text_settings

CHAT_TEMPLATE = """\
{%- for message in messages -%}
{{ message.role.upper() }}: {% for part in message.content -%}
{%- if part.type == 'image' -%}<image>
{%- else %} {{ part.text }}{%- endif -%}
{%- endfor %} {% endfor -%}
{%- if add_generation_prompt -%}ASSISTANT:{%- endif -%}
"""


def build(depth: int) -> tuple[PreTrainedModel, Any]:
    tokenizer = byte_level_tokenizer(("<|endoftext|>", "<|im_end|>", "<image>"))
    ids = tokenizer.get_vocab()
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=3,
            num_attention_heads=2,
            patch_size=14,
            image_size=84,
        ),
        text_config=LlamaConfig(**text_settings(tokenizer, depth)),
        image_token_index=ids["<image>"],
        image_seq_length=36,
    )
    side = {"height": 84, "width": 84}
    processor = LlavaProcessor(
        CLIPImageProcessorPil(size={"shortest_edge": 84}, crop_size=side),
        tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )
    model = LlavaForConditionalGeneration(config)
    model.generation_config.pad_token_id = ids["<|endoftext|>"]
    return model, processor
