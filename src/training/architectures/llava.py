"""The untrained tiny LLaVA-1.5: one square for every image, and a single rotary axis."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL.Image import Image, Resampling
from torch import Tensor
from transformers import (
    CLIPVisionConfig,
    GenerationConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from ...data.scenes.scene import TOKEN
from ..vocabulary import MAX_SIDE, build_tokenizer
from .base import Architecture, Picture, grid_areas, in_a_row, initialise

SIDE = MAX_SIDE // TOKEN
"""Visual tokens along each side of the square, one for each patch."""
TOKENS = ("<pad>", "</s>", "<image>", "USER:", "ASSISTANT:")

CHAT_TEMPLATE = """\
{%- for message in messages -%}
{{ 'USER: ' if message.role == 'user' else 'ASSISTANT: ' }}
{%- if message.content is string %}{{ message.content }}{% else -%}
{%- for part in message.content -%}
{{ '<image>\\n' if part.type == 'image' else part.text }}
{%- endfor -%}
{%- endif -%}
{{ ' ' if message.role == 'user' else '</s>' }}
{%- endfor -%}
{{ 'ASSISTANT:' if add_generation_prompt }}
"""


class TinyLlava(Architecture):
    """A LLaVA-1.5 of 2.1 M parameters, with a tower of CLIP's kind and a Llama.

    Images of every size and shape become squares of 336 x 336, for which boxes are written.
    """

    def build_processor(self) -> LlavaProcessor:
        square = {"height": MAX_SIDE, "width": MAX_SIDE}
        return LlavaProcessor(
            CLIPImageProcessorPil(size=square, crop_size=square, do_center_crop=False),
            build_tokenizer(TOKENS, pad="<pad>", end="</s>", spelling=True),
            patch_size=TOKEN,
            vision_feature_select_strategy="default",
            num_additional_image_tokens=1,
            chat_template=CHAT_TEMPLATE,
        )

    def build_model(self, processor: Any) -> LlavaForConditionalGeneration:
        token_id = processor.tokenizer.convert_tokens_to_ids
        ends = {
            "bos_token_id": None,
            "eos_token_id": token_id("</s>"),
            "pad_token_id": token_id("<pad>"),
        }
        config = LlavaConfig(
            vision_config=CLIPVisionConfig(
                hidden_size=128,
                intermediate_size=384,
                num_hidden_layers=3,
                num_attention_heads=4,
                patch_size=TOKEN,
                image_size=MAX_SIDE,
            ),
            text_config=LlamaConfig(
                vocab_size=len(processor.tokenizer),
                hidden_size=128,
                intermediate_size=384,
                num_hidden_layers=6,
                num_attention_heads=4,
                num_key_value_heads=2,
                max_position_embeddings=2048,
                # The slowest frequency turns once over some thousand tokens.
                rope_parameters={"rope_type": "default", "rope_theta": 1000.0},
                **ends,
            ),
            image_token_index=token_id("<image>"),
            image_seq_length=SIDE**2,
            vision_feature_layer=-1,
            tie_word_embeddings=False,
        )
        model = LlavaForConditionalGeneration(config)
        model.generation_config = GenerationConfig(do_sample=False, **ends)
        initialise(model)
        # It serves the pooled output, of which LLaVA makes no use.
        model.model.vision_tower.post_layernorm.requires_grad_(False)
        return model

    def picture(self, processor: Any, image: Image) -> Picture:
        areas = grid_areas(SIDE, SIDE, TOKEN, TOKEN)
        return Picture(
            size=(MAX_SIDE, MAX_SIDE),
            areas=areas,
            positions=in_a_row(len(areas)),
            extent=len(areas),
            inputs={"pixel_values": pixels(processor.image_processor, image)},
        )


def pixels(image_processor: Any, image: Image) -> Tensor:
    """What the image processor makes of an image, only faster: float [1, 3, 336, 336]."""
    mean, std = (
        torch.tensor(values)[:, None, None] * 255
        for values in (image_processor.image_mean, image_processor.image_std)
    )
    square = image.resize((MAX_SIDE, MAX_SIDE), Resampling.BICUBIC)
    return ((torch.from_numpy(np.array(square)).permute(2, 0, 1).float() - mean) / std)[None]
