"""A tiny Qwen2.5-VL: four patches of 14 pixels a token, a vision tower of two blocks."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedModel, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from ...models.qwen.processors import QWEN_TOKENS, ImageTextProcessor
from .tokenizer import byte_level_tokenizer, text_settings

CHAT_TEMPLATE = """\
{%- for message in messages -%}
<|im_start|>{{ message.role }}
{% for part in message.content -%}
{%- if part.type == 'image' -%}<|vision_start|><|image_pad|><|vision_end|>
{%- elif part.type == 'video' -%}<|vision_start|><|video_pad|><|vision_end|>
{%- else -%}{{ part.text }}{%- endif -%}
{%- endfor -%}
<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}<|im_start|>assistant
{% endif -%}
"""


def language_part(tokenizer: Any, depth: int) -> dict[str, Any]:
    """What the configurations of all Qwen-VL families have in common."""
    ids = tokenizer.get_vocab()
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]}
    text = text_settings(tokenizer, depth) | {"rope_parameters": rope}
    return {
        "text_config": text,
        "image_token_id": ids["<|image_pad|>"],
        "video_token_id": ids["<|video_pad|>"],
        "vision_start_token_id": ids["<|vision_start|>"],
        "vision_end_token_id": ids["<|vision_end|>"],
        "tie_word_embeddings": False,
    }


def build_processor(processor_class: Any, tokenizer: Any, **options: Any) -> Any:
    """A processor whose images and frames may be as small as a token.

    Args:
        options: of the image processor.
    """
    size = {"shortest_edge": 784, "longest_edge": 10**6}
    image_processor = Qwen2VLImageProcessorPil(size=size, **options)
    processor = processor_class(image_processor, tokenizer, chat_template=CHAT_TEMPLATE)
    processor.video_processor.size = size
    return processor


def build(depth: int) -> tuple[PreTrainedModel, Any]:
    tokenizer = byte_level_tokenizer(QWEN_TOKENS)
    config = Qwen2_5_VLConfig(
        vision_config={
            "hidden_size": 32,
            "out_hidden_size": 64,
            "intermediate_size": 48,
            "depth": 2,
            "num_heads": 2,
            "window_size": 112,
            "fullatt_block_indexes": [1],
        },
        **language_part(tokenizer, depth),
    )
    model = Qwen2_5_VLForConditionalGeneration(config)
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model, build_processor(ImageTextProcessor, tokenizer)
