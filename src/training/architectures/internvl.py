"""The untrained tiny InternVL: tiles and a thumbnail, and a single rotary axis."""

from __future__ import annotations

from typing import Any

import torch
from PIL.Image import Image
from torch import nn
from transformers import (
    GenerationConfig,
    InternVLConfig,
    InternVLForConditionalGeneration,
    Qwen2Config,
)
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.utils.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from ...data.scenes.scene import TOKEN
from ...models.internvl.processor import InternVLImageTextProcessor
from ...models.internvl.tokenizer import NAMED_TOKENS
from ..vocabulary import MAX_SIDE, build_tokenizer
from .base import Architecture, Picture, grid_areas, in_a_row, initialise

TILE = MAX_SIDE // 2
"""Side of a tile in pixels."""
MOST_TILES = 4
SIDE = TILE // TOKEN
"""Visual tokens along each side of a tile, each of 2 x 2 patches."""
TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", *NAMED_TOKENS.values())

CHAT_TEMPLATE = """\
{%- for message in messages -%}
<|im_start|>{{ message.role }}
{% if message.content is string %}{{ message.content }}{% else -%}
{%- for part in message.content -%}
{%- if part.type == 'image' -%}<IMG_CONTEXT>
{% elif part.type == 'video' -%}<video>
{% else -%}{{ part.text }}{%- endif -%}
{%- endfor -%}
{%- endif -%}
<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}<|im_start|>assistant
{% endif -%}
"""


class TinyInternVL(Architecture):
    """An InternVL of 2 M parameters: up to four tiles of 168 pixels and a thumbnail.

    Boxes are written for all tiles of an image together, in pixels.
    """

    around_image = (NAMED_TOKENS["start_image_token"], NAMED_TOKENS["end_image_token"])

    def build_processor(self) -> InternVLImageTextProcessor:
        return InternVLImageTextProcessor(
            GotOcr2ImageProcessorPil(
                size={"height": TILE, "width": TILE},
                crop_to_patches=True,
                max_patches=MOST_TILES,
                image_mean=IMAGENET_DEFAULT_MEAN,
                image_std=IMAGENET_DEFAULT_STD,
            ),
            build_tokenizer(
                TOKENS, pad="<|endoftext|>", end="<|im_end|>", spelling=True, **NAMED_TOKENS
            ),
            image_seq_length=SIDE**2,
            chat_template=CHAT_TEMPLATE,
        )

    def build_model(self, processor: Any) -> InternVLForConditionalGeneration:
        token_id = processor.tokenizer.convert_tokens_to_ids
        ends = {
            "bos_token_id": None,
            "eos_token_id": token_id("<|im_end|>"),
            "pad_token_id": token_id("<|endoftext|>"),
        }
        config = InternVLConfig(
            vision_config={
                "hidden_size": 96,
                "intermediate_size": 256,
                "num_hidden_layers": 3,
                "num_attention_heads": 3,
                "patch_size": TOKEN // 2,
                "image_size": TILE,
                "attention_bias": True,
                "layer_scale_init_value": 1.0,
            },
            text_config=Qwen2Config(
                vocab_size=len(processor.tokenizer),
                hidden_size=128,
                intermediate_size=384,
                num_hidden_layers=6,
                num_attention_heads=4,
                num_key_value_heads=2,
                max_position_embeddings=2048,
                # The slowest frequency turns once over some thousand tokens.
                rope_parameters={"rope_type": "default", "rope_theta": 1000.0},
                tie_word_embeddings=False,
                **ends,
            ),
            image_token_id=token_id(NAMED_TOKENS["context_image_token"]),
            image_seq_length=SIDE**2,
            tie_word_embeddings=False,
        )
        model = InternVLForConditionalGeneration(config)
        model.generation_config = GenerationConfig(do_sample=False, **ends)
        initialise(model)
        embeddings = model.model.vision_tower.embeddings
        for table in (embeddings.cls_token, embeddings.position_embeddings):
            nn.init.normal_(table, std=0.5)
        return model

    def picture(self, processor: Any, image: Image) -> Picture:
        inputs = processor(text=[processor.image_token], images=[[image]], return_tensors="pt")
        height, width, _ = inputs["image_sizes"][0, 0].tolist()
        tile = grid_areas(SIDE, SIDE, TOKEN, TOKEN)
        corners = grid_areas(height // TILE, width // TILE, TILE, TILE)[:, [0, 1, 0, 1]]
        areas = (corners[:, None] + tile).flatten(0, 1)
        if len(corners) > 1:
            thumbnail = grid_areas(SIDE, SIDE, height // SIDE, width // SIDE)
            areas = torch.cat([areas, thumbnail])
        return Picture(
            size=(width, height),
            areas=areas,
            positions=in_a_row(len(areas)),
            extent=len(areas),
            inputs={"pixel_values": inputs["pixel_values"]},
        )
