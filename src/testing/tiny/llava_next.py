"""A tiny LLaVA-NeXT: 4 x 4 tokens a view, up to 3 x 3 views, a Llama decoder."""

from __future__ import annotations

from typing import Any

from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextProcessor,
    PreTrainedModel,
)
from transformers.models.llava_next.image_processing_pil_llava_next import (
    LlavaNextImageProcessorPil,
)

from .llava import CHAT_TEMPLATE
from .llava_onevision import PATCH, PINPOINTS, SIDE
from .tokenizer import byte_level_tokenizer, text_settings


def build(depth: int) -> tuple[PreTrainedModel, Any]:
    tokenizer = byte_level_tokenizer(("<|endoftext|>", "<|im_end|>", "<image>"))
    ids = tokenizer.get_vocab()
    config = LlavaNextConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=3,
            num_attention_heads=2,
            patch_size=PATCH,
            image_size=SIDE,
        ),
        text_config=LlamaConfig(**text_settings(tokenizer, depth)),
        image_token_index=ids["<image>"],
        image_grid_pinpoints=PINPOINTS,
        image_seq_length=(SIDE // PATCH) ** 2,
    )
    side = {"height": SIDE, "width": SIDE}
    processor = LlavaNextProcessor(
        LlavaNextImageProcessorPil(
            size={"shortest_edge": SIDE}, crop_size=side, image_grid_pinpoints=PINPOINTS
        ),
        tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )
    model = LlavaNextForConditionalGeneration(config)
    model.generation_config.pad_token_id = ids["<|endoftext|>"]
    return model, processor
