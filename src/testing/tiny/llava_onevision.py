"""A tiny LLaVA-OneVision: 4 x 4 tokens a view, up to 3 x 3 views, a Qwen2 decoder."""

from __future__ import annotations

from typing import Any

from transformers import (
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    PreTrainedModel,
    Qwen2Config,
    SiglipVisionConfig,
)
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import (
    LlavaOnevisionImageProcessorPil,
)

from ...models.llava_onevision.processor import OnevisionProcessor
from .tokenizer import byte_level_tokenizer, text_settings

SIDE, PATCH = 56, 14
PINPOINTS = [[SIDE * rows, SIDE * columns] for rows in range(1, 4) for columns in range(1, 4)]
CHAT_TEMPLATE = """\
{%- for message in messages -%}
<|im_start|>{{ message.role }}
{% for part in message.content -%}
{%- if part.type == 'image' -%}<image>
{%- elif part.type == 'video' -%}<video>
{%- else %}
{{ part.text }}{%- endif -%}
{%- endfor -%}
<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}<|im_start|>assistant
{% endif -%}
"""


def build(depth: int) -> tuple[PreTrainedModel, Any]:
    tokenizer = byte_level_tokenizer(
        ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>", "<video>")
    )
    ids = tokenizer.get_vocab()
    config = LlavaOnevisionConfig(
        vision_config=SiglipVisionConfig(
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=2,
            patch_size=PATCH,
            image_size=SIDE,
            vision_use_head=False,
        ),
        text_config=Qwen2Config(**text_settings(tokenizer, depth)),
        image_token_index=ids["<image>"],
        video_token_index=ids["<video>"],
        image_grid_pinpoints=PINPOINTS,
        vision_aspect_ratio="anyres_max_4",
    )
    processor = OnevisionProcessor(
        LlavaOnevisionImageProcessorPil(
            size={"height": SIDE, "width": SIDE}, image_grid_pinpoints=PINPOINTS
        ),
        tokenizer,
        num_image_tokens=(SIDE // PATCH) ** 2,
        vision_feature_select_strategy="full",
        vision_aspect_ratio="anyres_max_4",
        chat_template=CHAT_TEMPLATE,
    )
    model = LlavaOnevisionForConditionalGeneration(config)
    model.generation_config.pad_token_id = ids["<|endoftext|>"]
    return model, processor
