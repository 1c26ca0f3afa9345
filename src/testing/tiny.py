"""Tiny models of every family: random weights from config classes, and a processor, offline."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from ..models.processors import QWEN_TOKENS, ImageTextProcessor

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
LLAVA_TEMPLATE = """\
{%- for message in messages -%}
{{ message.role.upper() }}: {% for part in message.content -%}
{%- if part.type == 'image' -%}<image>
{%- else %} {{ part.text }}{%- endif -%}
{%- endfor %} {% endfor -%}
{%- if add_generation_prompt -%}ASSISTANT:{%- endif -%}
"""


def tiny_model(family: str, *, depth: int = 4, seed: int = 0) -> tuple[PreTrainedModel, Any]:
    """A random model of a family in evaluation mode, in float32, and a processor for it.

    Args:
        family: family name, see `ivcprune.models.registry.supported`.
        depth: number of decoder layers.
        seed: of the weights; the global random state is left as it was.

    Raises:
        ValueError: no tiny model of that family.
    """
    if family not in _BUILDERS:
        raise ValueError(
            f"no tiny model of family {family!r}: choose one of {', '.join(sorted(_BUILDERS))}"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, processor = _BUILDERS[family](depth)
        for parameter in model.parameters():
            if parameter.dim() > 1:
                # the default of 0.02 leaves attention uniform, which hides mistakes
                torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
    return model.eval(), processor


def byte_level_tokenizer(special_tokens: tuple[str, ...]) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer that reads any text and needs no file."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=list(special_tokens),
        show_progress=False,
    )
    tokenizer.train_from_iterator([], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=special_tokens[0],
        eos_token="<|im_end|>",
        padding_side="left",
    )


def _qwen2_5_vl(depth: int) -> tuple[PreTrainedModel, Any]:
    tokenizer = byte_level_tokenizer(QWEN_TOKENS)
    ids = tokenizer.get_vocab()
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_hidden_layers": depth,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 4096,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e4,
                "mrope_section": [2, 3, 3],
            },
            "bos_token_id": None,
            "eos_token_id": ids["<|im_end|>"],
            "pad_token_id": ids["<|endoftext|>"],
        },
        vision_config={
            "hidden_size": 32,
            "out_hidden_size": 64,
            "intermediate_size": 48,
            "depth": 2,
            "num_heads": 2,
            "window_size": 112,
            "fullatt_block_indexes": [1],
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=False,
    )
    image_processor = Qwen2VLImageProcessorPil(size={"shortest_edge": 784, "longest_edge": 10**6})
    processor = ImageTextProcessor(image_processor, tokenizer, chat_template=CHAT_TEMPLATE)
    model = Qwen2_5_VLForConditionalGeneration(config)
    model.generation_config.pad_token_id = ids["<|endoftext|>"]
    return model, processor


def _llava(depth: int) -> tuple[PreTrainedModel, Any]:
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
        text_config=LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=96,
            num_hidden_layers=depth,
            num_attention_heads=4,
            num_key_value_heads=2,
            eos_token_id=ids["<|im_end|>"],
            pad_token_id=ids["<|endoftext|>"],
        ),
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
        chat_template=LLAVA_TEMPLATE,
    )
    model = LlavaForConditionalGeneration(config)
    model.generation_config.pad_token_id = ids["<|endoftext|>"]
    return model, processor


_BUILDERS: dict[str, Callable[[int], tuple[PreTrainedModel, Any]]] = {
    "llava": _llava,
    "qwen2_5_vl": _qwen2_5_vl,
}
