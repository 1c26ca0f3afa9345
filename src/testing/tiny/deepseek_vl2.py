"""A tiny DeepSeek-VL2 Small: latent attention, three tokens along a tile, at most four tiles."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedModel

from ...models.deepseek_vl2 import (
    DeepseekVL2Config,
    DeepseekVL2ForConditionalGeneration,
    DeepseekVL2ImageProcessor,
    DeepseekVL2Processor,
)
from ...models.deepseek_vl2.processing import SPECIAL_TOKENS
from ...models.deepseek_vl2.tiling import tile_grids
from .tokenizer import byte_level_tokenizer

TILE, MAX_TILES = 70, 4
"""Five patches of 14 pixels a side: as in the published tower, an odd number that is padded."""

_MOE = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "moe_intermediate_size": 32,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 4096,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e4},
}
_LATENT = {
    "model_type": "deepseek_v2",
    "first_k_dense_replace": 1,
    "kv_lora_rank": 24,
    "q_lora_rank": None,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 8,
    "v_head_dim": 12,
}


def build(depth: int) -> tuple[PreTrainedModel, Any]:
    """Like Small: multi-head latent attention."""
    return _build({**_MOE, **_LATENT, "num_hidden_layers": depth})


def build_multi_head(depth: int) -> tuple[PreTrainedModel, Any]:
    """Like Tiny: multi-head attention."""
    kinds = ["dense"] + ["sparse"] * (depth - 1)
    own = {"model_type": "deepseek_ocr2_text", "mlp_layer_types": kinds}
    return _build({**_MOE, **own, "num_hidden_layers": depth})


def _build(text_config: dict[str, Any]) -> tuple[PreTrainedModel, Any]:
    tokenizer = byte_level_tokenizer(("<|endoftext|>", "<|im_end|>", *SPECIAL_TOKENS))
    tokenizer.bos_token = "<|endoftext|>"
    ids = tokenizer.get_vocab()
    config = DeepseekVL2Config(
        text_config={
            **text_config,
            "vocab_size": len(tokenizer),
            "bos_token_id": ids["<|endoftext|>"],
            "eos_token_id": ids["<|im_end|>"],
            "pad_token_id": ids["<|endoftext|>"],
        },
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "patch_size": 14,
            "image_size": TILE,
            "vision_use_head": False,
        },
        image_token_id=ids["<image>"],
        tile_grids=tile_grids(MAX_TILES),
    )
    image_processor = DeepseekVL2ImageProcessor(tile_size=TILE, tile_grids=tile_grids(MAX_TILES))
    processor = DeepseekVL2Processor(image_processor, tokenizer)
    model = DeepseekVL2ForConditionalGeneration(config)
    model.generation_config.pad_token_id = ids["<|endoftext|>"]
    return model, processor
