"""The untrained tiny Qwen2.5-VL: images of any size, and three rotary axes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor
from transformers import GenerationConfig, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from ...data.scenes.scene import TOKEN
from ...models.qwen.processors import QWEN_TOKENS, ImageTextProcessor
from ..vocabulary import MAX_SIDE, build_tokenizer
from .base import Architecture, Picture, grid_areas, initialise

PATCH = TOKEN // 2
"""Side of a vision patch in pixels; a visual token merges 2 x 2 of them."""

# Qwen's chat markup without the default system prompt. The word-level tokenizer drops line breaks.
CHAT_TEMPLATE = """\
{%- for message in messages -%}
{{ '<|im_start|>' + message.role + '\\n' }}
{%- if message.content is string -%}
{{ message.content }}
{%- else -%}
{%- for part in message.content -%}
{%- if part.type == 'image' -%}
{{ '<|vision_start|><|image_pad|><|vision_end|>' }}
{%- elif part.type == 'video' -%}
{{ '<|vision_start|><|video_pad|><|vision_end|>' }}
{%- else -%}
{{ part.text }}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{{ '<|im_end|>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ '<|im_start|>assistant\\n' }}
{%- endif -%}
"""


class TinyQwen(Architecture):
    """A Qwen2.5-VL of 1.86 M parameters; the last of its three vision layers attends globally.

    Args:
        spelling: whether its vocabulary can spell.
    """

    def __init__(self, *, spelling: bool) -> None:
        self.spelling = spelling

    def build_processor(self) -> ImageTextProcessor:
        """The image processor never resizes a scene."""
        tokenizer = build_tokenizer(
            QWEN_TOKENS, pad="<|endoftext|>", end="<|im_end|>", spelling=self.spelling
        )
        image_processor = Qwen2VLImageProcessorPil(
            size={"shortest_edge": TOKEN**2, "longest_edge": MAX_SIDE**2}
        )
        return ImageTextProcessor(image_processor, tokenizer, chat_template=CHAT_TEMPLATE)

    def build_model(self, processor: Any) -> Qwen2_5_VLForConditionalGeneration:
        token_id = processor.tokenizer.convert_tokens_to_ids
        ends = {
            "bos_token_id": None,
            "eos_token_id": token_id("<|im_end|>"),
            "pad_token_id": token_id("<|endoftext|>"),
        }
        config = Qwen2_5_VLConfig(
            text_config={
                "vocab_size": len(processor.tokenizer),
                "hidden_size": 128,
                "intermediate_size": 384,
                "num_hidden_layers": 6,
                "num_attention_heads": 4,
                "num_key_value_heads": 2,
                "max_position_embeddings": 2048,
                # A small theta: with 1e6 the column frequencies hardly turn over 12 columns.
                "rope_parameters": {
                    "rope_type": "default",
                    "rope_theta": 20.0,
                    "mrope_section": [4, 6, 6],
                },
                **ends,
            },
            vision_config={
                "depth": 3,
                "hidden_size": 96,
                "intermediate_size": 256,
                "num_heads": 3,
                "window_size": 112,
                "fullatt_block_indexes": [2],
                "out_hidden_size": 128,
                "rope_parameters": {"rope_type": "axial", "rope_theta": 100.0},
            },
            image_token_id=token_id("<|image_pad|>"),
            video_token_id=token_id("<|video_pad|>"),
            vision_start_token_id=token_id("<|vision_start|>"),
            vision_end_token_id=token_id("<|vision_end|>"),
            tie_word_embeddings=False,
            **ends,
        )
        model = Qwen2_5_VLForConditionalGeneration(config)
        model.generation_config = GenerationConfig(do_sample=False, **ends)
        initialise(model)
        return model

    def picture(self, processor: Any, image: Image) -> Picture:
        rows, columns = image.height // TOKEN, image.width // TOKEN
        areas = grid_areas(rows, columns, TOKEN, TOKEN)
        return Picture(
            size=image.size,
            areas=areas,
            positions=torch.stack([torch.zeros(len(areas)).long(), *(areas.T[[1, 0]] // TOKEN)]),
            extent=max(rows, columns),
            inputs={
                "pixel_values": patches(processor.image_processor, image),
                "image_grid_thw": torch.tensor([[1, 2 * rows, 2 * columns]]),
            },
        )


def patches(image_processor: Any, image: Image) -> Tensor:
    """What the image processor makes of an image of allowed size, in a third of its time.

    Returns:
        float [patches, 3 * 2 * 14 * 14]; the four patches of a visual token are neighbours.
    """
    mean, std = (
        torch.tensor(values)[:, None, None] * 255
        for values in (image_processor.image_mean, image_processor.image_std)
    )
    rows, columns = image.height // TOKEN, image.width // TOKEN
    pixels = torch.from_numpy(np.array(image)).view(rows, 2, PATCH, columns, 2, PATCH, 3)
    # -> row, column, patch row, patch column, channel, pixel row, pixel column
    pixels = (pixels.permute(0, 3, 1, 4, 6, 2, 5).float() - mean) / std
    # A still image is two equal frames.
    return torch.stack([pixels, pixels], 5).view(rows * columns * 4, -1)
