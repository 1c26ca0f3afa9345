"""InternVL's own configuration format (`internvl_chat`), as one of transformers' InternVL."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import AutoConfig, InternVLConfig

from ..base import SELECTION_LAYER

CHAT_MODEL_TYPE = "internvl_chat"

TEXT_MODEL_TYPES = {
    "InternLM2ForCausalLM": "llama",
    "LlamaForCausalLM": "llama",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
}
"""What transformers calls the language models, by `llm_config.architectures`."""

_VISION = {
    "image_size": "image_size",
    "patch_size": "patch_size",
    "num_channels": "num_channels",
    "hidden_size": "hidden_size",
    "intermediate_size": "intermediate_size",
    "num_hidden_layers": "num_hidden_layers",
    "num_attention_heads": "num_attention_heads",
    "hidden_act": "hidden_act",
    "norm_type": "norm_type",
    "layer_norm_eps": "layer_norm_eps",
    "attention_dropout": "attention_dropout",
    "dropout": "projection_dropout",
    "qkv_bias": "attention_bias",
    "qk_normalization": "use_qk_norm",
}
"""Keys of `vision_config` by what transformers calls them."""


def read_config(folder: Path) -> dict[str, Any]:
    """The `config.json` of a folder."""
    config: dict[str, Any] = json.loads((folder / "config.json").read_text("utf-8"))
    return config


def is_chat(config: Mapping[str, Any]) -> bool:
    """Whether a `config.json` is in InternVL's own format."""
    return config.get("model_type") == CHAT_MODEL_TYPE


def convert_config(chat: Mapping[str, Any]) -> InternVLConfig:
    """The configuration of transformers' InternVL for one in InternVL's own format.

    `image_token_id` is left at its default: only the tokenizer knows it.

    Raises:
        ValueError: an architecture or a setting that transformers' InternVL does not have.
    """
    if (version := chat.get("ps_version", "v1")) != "v2":
        raise ValueError(f"config.json: ps_version is {version!r}, but only 'v2' is supported")
    vision = {
        new: chat["vision_config"][old]
        for old, new in _VISION.items()
        if old in chat["vision_config"]
    }
    vision["image_size"] = chat.get("force_image_size") or vision["image_size"]
    text = _text_config(chat["llm_config"])
    ratio = chat.get("downsample_ratio", 0.5)
    side = int(vision["image_size"] // vision["patch_size"] * ratio)
    return InternVLConfig(
        vision_config=vision,
        text_config=text,
        downsample_ratio=ratio,
        image_seq_length=side * side,
        vision_feature_layer=chat.get("select_layer", -1),
        tie_word_embeddings=text.tie_word_embeddings,
        **{key: chat[key] for key in (SELECTION_LAYER,) if key in chat},
    )


def _text_config(llm: Mapping[str, Any]) -> Any:
    architecture = llm["architectures"][0]
    if architecture not in TEXT_MODEL_TYPES:
        raise ValueError(
            f"config.json: llm_config.architectures is {architecture!r}: supported are "
            f"{', '.join(sorted(TEXT_MODEL_TYPES))}"
        )
    model_type = TEXT_MODEL_TYPES[architecture]
    # The files also hold every default of an old transformers, generation settings among them.
    known = {*AutoConfig.for_model(model_type).to_dict(), "rope_theta", "rope_scaling"}
    known -= {"model_type", "architectures", "transformers_version", "dtype"}
    known -= {"use_cache"}  # as in training, where it may have been off
    settings = {key: value for key, value in llm.items() if key in known}
    if architecture == "InternLM2ForCausalLM":
        settings["attention_bias"] = llm.get("bias", False)
    return AutoConfig.for_model(model_type, **settings)
