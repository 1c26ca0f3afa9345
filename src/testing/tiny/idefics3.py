"""A tiny SmolVLM: 2 x 2 tokens a tile of 56 pixels, the whole image last."""

from __future__ import annotations

from typing import Any

from transformers import (
    LlamaConfig,
    PreTrainedModel,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
)
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

from ...models.idefics3 import TilesProcessor
from .tokenizer import byte_level_tokenizer, text_settings

SIDE = 56
PLACES = tuple(f"<row_{row}_col_{column}>" for row in range(1, 5) for column in range(1, 5))
CHAT_TEMPLATE = """\
{%- for message in messages -%}
{{ message.role }}: {% for part in message.content -%}
{%- if part.type == 'image' -%}<image>
{%- else %} {{ part.text }}{%- endif -%}
{%- endfor %}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}Assistant:{%- endif -%}
"""


def build(depth: int) -> tuple[PreTrainedModel, Any]:
    marks = ("<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>")
    tokenizer = byte_level_tokenizer(("<|endoftext|>", "<|im_end|>", *marks, *PLACES))
    ids = tokenizer.get_vocab()
    config = SmolVLMConfig(
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "patch_size": 14,
            "image_size": SIDE,
        },
        text_config=LlamaConfig(**text_settings(tokenizer, depth)),
        image_token_id=ids["<image>"],
        scale_factor=2,
    )
    images = SmolVLMImageProcessorPil(
        size={"longest_edge": 3 * SIDE}, max_image_size={"longest_edge": SIDE}
    )
    model = SmolVLMForConditionalGeneration(config)
    model.generation_config.pad_token_id = ids["<|endoftext|>"]
    return model, TilesProcessor(images, tokenizer, image_seq_len=4, chat_template=CHAT_TEMPLATE)
