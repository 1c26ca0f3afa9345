"""A tiny GLM-4.1V: four patches of 14 pixels a token, a dense decoder with partial rotation."""

from __future__ import annotations

from typing import Any

from transformers import (
    Glm4vConfig,
    Glm4vForConditionalGeneration,
    Glm4vMoeConfig,
    Glm4vMoeForConditionalGeneration,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.models.glm4v.image_processing_pil_glm4v import Glm4vImageProcessorPil

from ...models.glm4v import GlmProcessor
from .tokenizer import byte_level_tokenizer, text_settings

TOKENS = (
    "<|endoftext|>",
    "<|im_end|>",
    "<|begin_of_image|>",
    "<|end_of_image|>",
    "<|begin_of_video|>",
    "<|end_of_video|>",
    "<|image|>",
    "<|video|>",
)
CHAT_TEMPLATE = """\
{%- for message in messages -%}
<|{{ message.role }}|>
{% for part in message.content -%}
{%- if part.type == 'image' -%}<|begin_of_image|><|image|><|end_of_image|>
{%- else -%}{{ part.text }}{%- endif -%}
{%- endfor %}
{% endfor -%}
{%- if add_generation_prompt -%}<|assistant|>
{% endif -%}
"""


_EXPERTS = {
    "head_dim": 16,
    "moe_intermediate_size": 32,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "first_k_dense_replace": 1,
    "attention_bias": True,
}


def build(depth: int) -> tuple[PreTrainedModel, Any]:
    tokenizer = byte_level_tokenizer(TOKENS)
    config = Glm4vConfig(**_settings(tokenizer, depth, {}))
    return _finished(Glm4vForConditionalGeneration(config), tokenizer)


def build_moe(depth: int) -> tuple[PreTrainedModel, Any]:
    """Like GLM-4.5V: experts behind the first layer, and halves that turn, not pairs."""
    tokenizer = byte_level_tokenizer(TOKENS)
    config = Glm4vMoeConfig(**_settings(tokenizer, depth, _EXPERTS))
    return _finished(Glm4vMoeForConditionalGeneration(config), tokenizer)


def _settings(
    tokenizer: PreTrainedTokenizerFast, depth: int, text: dict[str, Any]
) -> dict[str, Any]:
    ids = tokenizer.get_vocab()
    rope = {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}
    return {
        "vision_config": {
            "hidden_size": 32,
            "out_hidden_size": 64,
            "intermediate_size": 48,
            "depth": 2,
            "num_heads": 2,
            "image_size": 112,
        },
        "text_config": text_settings(tokenizer, depth)
        | {"rope_parameters": rope | {"mrope_section": [1, 1, 2]}}
        | text,
        "image_token_id": ids["<|image|>"],
        "video_token_id": ids["<|video|>"],
        "image_start_token_id": ids["<|begin_of_image|>"],
        "image_end_token_id": ids["<|end_of_image|>"],
        "video_start_token_id": ids["<|begin_of_video|>"],
        "video_end_token_id": ids["<|end_of_video|>"],
    }


def _finished(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> tuple[PreTrainedModel, Any]:
    images = Glm4vImageProcessorPil(size={"shortest_edge": 784, "longest_edge": 10**6})
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model, GlmProcessor(images, tokenizer, chat_template=CHAT_TEMPLATE)
