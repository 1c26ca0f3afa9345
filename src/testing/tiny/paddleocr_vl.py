"""A tiny PaddleOCR-VL: four patches of 14 pixels a token."""

from __future__ import annotations

from typing import Any

from transformers import (
    PaddleOCRVLConfig,
    PaddleOCRVLForConditionalGeneration,
    PaddleOCRVLProcessor,
    PreTrainedModel,
)
from transformers.models.paddleocr_vl.image_processing_pil_paddleocr_vl import (
    PaddleOCRVLImageProcessorPil,
)

from .tokenizer import byte_level_tokenizer, text_settings

TOKENS = (
    "<|endoftext|>",
    "<|im_end|>",
    "<|IMAGE_START|>",
    "<|IMAGE_END|>",
    "<|IMAGE_PLACEHOLDER|>",
    "<|VIDEO_PLACEHOLDER|>",
)
CHAT_TEMPLATE = """\
{%- for message in messages -%}
{{ message.role }}: {% for part in message.content -%}
{%- if part.type == 'image' -%}<|IMAGE_START|><|IMAGE_PLACEHOLDER|><|IMAGE_END|>
{%- else -%}{{ part.text }}{%- endif -%}
{%- endfor %}
{% endfor -%}
{%- if add_generation_prompt -%}Assistant: {% endif -%}
"""


def build(depth: int) -> tuple[PreTrainedModel, Any]:
    tokenizer = byte_level_tokenizer(TOKENS, image_token="<|IMAGE_PLACEHOLDER|>")
    ids = tokenizer.get_vocab()
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]}
    config = PaddleOCRVLConfig(
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 112,
        },
        text_config=text_settings(tokenizer, depth) | {"rope_parameters": rope, "head_dim": 16},
        image_token_id=ids["<|IMAGE_PLACEHOLDER|>"],
        video_token_id=ids["<|VIDEO_PLACEHOLDER|>"],
        vision_start_token_id=ids["<|IMAGE_START|>"],
        vision_end_token_id=ids["<|IMAGE_END|>"],
        tie_word_embeddings=False,
    )
    images = PaddleOCRVLImageProcessorPil(size={"shortest_edge": 784, "longest_edge": 10**6})
    model = PaddleOCRVLForConditionalGeneration(config)
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model, PaddleOCRVLProcessor(images, tokenizer, chat_template=CHAT_TEMPLATE)
