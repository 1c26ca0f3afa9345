"""A tiny Ministral 3: four patches of 14 pixels a token, queries scaled by their positions."""

from __future__ import annotations

from typing import Any

from transformers import (
    Ministral3Config,
    Mistral3Config,
    Mistral3ForConditionalGeneration,
    MistralConfig,
    PixtralVisionConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.models.pixtral.image_processing_pil_pixtral import PixtralImageProcessorPil

from ...models.mistral3 import LinesProcessor
from .tokenizer import byte_level_tokenizer, text_settings

CHAT_TEMPLATE = """\
{%- for message in messages -%}
[{{ message.role }}]{% for part in message.content -%}
{%- if part.type == 'image' -%}[IMG]
{%- else %} {{ part.text }}{%- endif -%}
{%- endfor %} {% endfor -%}
{%- if add_generation_prompt -%}[/INST]{%- endif -%}
"""


TOKENS = ("<|endoftext|>", "<|im_end|>", "[IMG]", "[IMG_BREAK]", "[IMG_END]")


def build(depth: int) -> tuple[PreTrainedModel, Any]:
    tokenizer = byte_level_tokenizer(TOKENS)
    rope = {
        "rope_type": "default",
        "rope_theta": 1e4,
        "llama_4_scaling_beta": 0.1,
        "original_max_position_embeddings": 16384,
    }
    settings = text_settings(tokenizer, depth) | {"rope_parameters": rope, "head_dim": 16}
    return _build(tokenizer, Ministral3Config(**settings))


def build_mistral(depth: int) -> tuple[PreTrainedModel, Any]:
    """Like Mistral Small 3.1: no scaling, no position ids in the layers."""
    tokenizer = byte_level_tokenizer(TOKENS)
    settings = text_settings(tokenizer, depth) | {"head_dim": 16, "sliding_window": None}
    return _build(tokenizer, MistralConfig(**settings))


def _build(
    tokenizer: PreTrainedTokenizerFast, text_config: PretrainedConfig
) -> tuple[PreTrainedModel, Any]:
    ids = tokenizer.get_vocab()
    config = Mistral3Config(
        vision_config=PixtralVisionConfig(
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=2,
            patch_size=14,
            image_size=560,
        ),
        text_config=text_config,
        image_token_index=ids["[IMG]"],
        spatial_merge_size=2,
    )
    images = PixtralImageProcessorPil(
        size={"longest_edge": 560}, patch_size={"height": 14, "width": 14}
    )
    model = Mistral3ForConditionalGeneration(config)
    model.generation_config.pad_token_id = ids["<|endoftext|>"]
    return model, LinesProcessor(images, tokenizer, chat_template=CHAT_TEMPLATE)
