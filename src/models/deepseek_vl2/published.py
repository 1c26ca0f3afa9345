"""The published `config.json` of DeepSeek-VL2, in the terms of transformers' configurations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from transformers import DeepseekV2Config
from transformers.models.deepseek_ocr2.configuration_deepseek_ocr2 import DeepseekOcr2TextConfig

from .tiling import Grid, tile_grids

IMAGE_TOKEN_IDS = {102400: 100003, 129280: 128815}
"""Id of `<image>` by size of the vocabulary: published configurations do not name it."""

_TEXT = {"num_hidden_layers": 30, "bos_token_id": 100000, "eos_token_id": 100001}
"""Defaults of the published configuration class where transformers' differ."""

_LARGE_VOCABULARY = {"bos_token_id": 0, "eos_token_id": 1}
"""Begin and end of a sentence in the tokenizer with 129280 tokens, should they not be given."""

_ROUTER = {"scoring_func": "softmax", "topk_method": "greedy", "norm_topk_prob": False}
"""What transformers' expert router computes; it does not read the first and the last."""

_PROJECTOR = {
    "projector_type": "downsample_mlp_gelu",
    "input_dim": 1152,
    "n_embed": 2048,
    "depth": 2,
    "mlp_ratio": 1,
    "downsample_ratio": 2,
    "token_pooling": False,
}
_LAYOUT = {"tile_tag": "2D", "global_view_pos": "head"}


def from_published(config: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Our fields, and what is left of a published configuration.

    Raises:
        ValueError: it says something that the modules used here do not compute.
    """
    rest = dict(config)
    text = text_config(rest.pop("language_config"))
    vision = vision_config(rest.pop("vision_config") or {})
    projector = {**_PROJECTOR, **(rest.pop("projector_config", None) or {})}
    sizes = {"input_dim": vision["hidden_size"], "n_embed": text["hidden_size"]}
    for name, supported in (_PROJECTOR | sizes).items():
        _require(f"projector_config.{name}", projector[name], supported)
    for name, supported in _LAYOUT.items():
        _require(name, rest.pop(name, supported), supported)
    grids = _grids(rest.pop("candidate_resolutions", None), vision["image_size"])
    return {"text_config": text, "vision_config": vision, "tile_grids": grids}, rest


def text_config(published: Mapping[str, Any]) -> dict[str, Any]:
    """The decoder's configuration, from `language_config`."""
    is_large = published.get("vocab_size") == 129280
    values = {**_TEXT, **(_LARGE_VOCABULARY if is_large else {}), **published}
    for name, supported in _ROUTER.items():
        _require(f"language_config.{name}", values.get(name, supported), supported)
    _require("language_config.rope_scaling", values.get("rope_scaling"), None)
    _require("language_config.moe_layer_freq", values.get("moe_layer_freq", 1), 1)
    theta = float(values.get("rope_theta", 10000.0))
    values["rope_parameters"] = {"rope_type": "default", "rope_theta": theta}
    if values.get("use_mla", True):
        return _known(DeepseekV2Config, values)
    dense = values.get("first_k_dense_replace", 0)
    values["mlp_layer_types"] = [
        "dense" if layer < dense else "sparse" for layer in range(values["num_hidden_layers"])
    ]
    return _known(DeepseekOcr2TextConfig, values)


def vision_config(published: Mapping[str, Any]) -> dict[str, Any]:
    """The tower's configuration; what is not given is SigLIP-SO400M's."""
    width = published.get("width", 1152)
    return {
        "hidden_size": width,
        "intermediate_size": int(width * published.get("mlp_ratio", 3.7362)),
        "num_hidden_layers": published.get("layers", 27),
        "num_attention_heads": published.get("heads", 16),
        "image_size": published.get("image_size", 384),
        "patch_size": published.get("patch_size", 14),
        "vision_use_head": False,
    }


def image_token_id(vocabulary: int) -> int:
    """The id of `<image>` in the published tokenizer with a vocabulary of that size."""
    if vocabulary not in IMAGE_TOKEN_IDS:
        known = ", ".join(map(str, IMAGE_TOKEN_IDS))
        raise ValueError(
            f"image_token_id is missing, and known only for vocabularies of {known} tokens (this "
            f"one has {vocabulary}): give the id of '<image>' in the tokenizer"
        )
    return IMAGE_TOKEN_IDS[vocabulary]


def _known(config_class: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that a configuration class knows, and its type."""
    names = {field.name for field in fields(config_class)} - {"architectures", "dtype"}
    known = {name: value for name, value in values.items() if name in names}
    return {**known, "model_type": config_class.model_type}


def _grids(resolutions: Any, tile: int) -> list[Grid]:
    """Candidates in tiles, from (width, height) in pixels."""
    if resolutions is None:
        return tile_grids()
    return [(width // tile, height // tile) for width, height in resolutions]


def _require(name: str, value: Any, supported: Any) -> None:
    if value != supported:
        raise ValueError(
            f"{name} is {value!r}: only {supported!r} is supported, which DeepSeek-VL2 Tiny and "
            "Small have; DeepSeek-VL2 (Base) routes its experts by another rule"
        )
