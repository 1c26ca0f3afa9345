"""A tiny InternVL: tiles of 56 pixels and 4 x 4 visual tokens, up to 6 of them an image."""

from __future__ import annotations

from typing import Any

from transformers import (
    InternVLConfig,
    InternVLForConditionalGeneration,
    PreTrainedModel,
    Qwen2Config,
)
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil

from ...models.internvl.processor import InternVLImageTextProcessor
from .tokenizer import byte_level_tokenizer, text_settings

NAMED_TOKENS = {
    "start_image_token": "<img>",
    "end_image_token": "</img>",
    "context_image_token": "<IMG_CONTEXT>",
    "video_token": "<video>",
}

CHAT_TEMPLATE = """\
{%- for message in messages -%}
<|im_start|>{{ message.role }}
{% for part in message.content -%}
{%- if part.type == 'image' -%}<IMG_CONTEXT>
{% elif part.type == 'video' -%}<video>
{% else -%}{{ part.text }}{%- endif -%}
{%- endfor -%}
<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}<|im_start|>assistant
{% endif -%}
"""


def build(depth: int) -> tuple[PreTrainedModel, Any]:
    tokens = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", *NAMED_TOKENS.values())
    tokenizer = byte_level_tokenizer(tokens, **NAMED_TOKENS)
    ids = tokenizer.get_vocab()
    config = InternVLConfig(
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "patch_size": 7,
            "image_size": 56,
        },
        text_config=Qwen2Config(**text_settings(tokenizer, depth), tie_word_embeddings=False),
        image_token_id=ids["<IMG_CONTEXT>"],
        image_seq_length=16,
        tie_word_embeddings=False,
    )
    side = {"height": 56, "width": 56}
    processor = InternVLImageTextProcessor(
        GotOcr2ImageProcessorPil(size=side, crop_to_patches=True, max_patches=6),
        tokenizer,
        image_seq_length=16,
        chat_template=CHAT_TEMPLATE,
    )
    model = InternVLForConditionalGeneration(config)
    model.generation_config.pad_token_id = ids["<|endoftext|>"]
    return model, processor
