"""A shallow and narrow copy of a model's configuration, for random weights on a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import PretrainedConfig

LAYERS, WINDOW, HEADS = 4, 24, 4
"""Decoder layers of a copy with layers of one type; tokens of its windows; heads."""

_AT_MOST = {
    "intermediate_size": 64,
    "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 32,
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "top_k_experts": 2,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    "sliding_window": WINDOW,
}
"""Sizes of a decoder that no other part of a model depends on."""

_DEPTHS = ("num_hidden_layers", "depth", "num_layers")
_TEXT_WIDTHS = ("out_hidden_size", "text_hidden_size", "output_hidden_size")


def shallow(config: PretrainedConfig) -> PretrainedConfig:
    """The configuration with a few layers of each type, narrow ones, and short windows.

    Ids, heads' widths, rotary settings and everything about pictures stay: the processor fits, and
    what a family says of its attention must hold. Small configurations stay as they are.
    """
    settings: dict[str, Any] = config.to_dict()
    decoder = config.get_text_config()
    name = next((k for k, v in vars(config).items() if v is decoder), None)
    text = settings if name is None else settings[name]
    width = text["hidden_size"]
    text |= _shallow_text(text, decoder)
    for key, part in settings.items():
        if key != name and isinstance(part, dict) and any(depth in part for depth in _DEPTHS):
            settings[key] = _shallow_tower(part, width, text["hidden_size"])
    return type(config).from_dict(settings)


def _shallow_text(text: dict[str, Any], decoder: Any) -> dict[str, Any]:
    depth = decoder.num_hidden_layers
    types = getattr(decoder, "layer_types", None) or ["full_attention"] * depth
    chosen = some_layers(types)
    changed = _at_layers(text, depth, chosen) | {"num_hidden_layers": len(chosen)}
    for key, most in _AT_MOST.items():
        if isinstance(text.get(key), int):
            changed[key] = min(text[key], most)
    heads = text["num_attention_heads"]
    if heads > HEADS:
        changed["num_attention_heads"] = HEADS
        for key in text:
            if key.endswith("key_value_heads") and text[key] is not None:
                changed[key] = HEADS if text[key] == heads else min(text[key], HEADS // 2)
        own_width = text.get("head_dim") is not None or text.get("qk_rope_head_dim") is not None
        narrow = HEADS * (text["hidden_size"] // heads)
        changed["hidden_size"] = min(text["hidden_size"], 64) if own_width else narrow
    return changed


def some_layers(types: Sequence[str]) -> list[int]:
    """The first two layers of each type, or four of a single type, ascending."""
    each = 2 if len(set(types)) > 1 else LAYERS
    found: dict[str, list[int]] = {}
    for index, name in enumerate(types):
        found.setdefault(name, []).append(index)
    return sorted(index for of_type in found.values() for index in of_type[:each])


def _shallow_tower(part: dict[str, Any], width: int, narrow: int) -> dict[str, Any]:
    """Few layers, but as many as there are layers that the model names."""
    (key,) = [name for name in _DEPTHS if name in part][:1]
    depth = part[key]
    named = {
        k: list(range(len(v)))
        for k, v in part.items()
        if k.endswith(("_indexes", "_indices")) and isinstance(v, list | tuple)
    }
    few = min(depth, max([2, *(len(v) + 1 for v in named.values())]))
    changed = part | _at_layers(part, depth, list(range(few))) | named | {key: few}
    if isinstance(part.get("intermediate_size"), int):
        changed["intermediate_size"] = min(part["intermediate_size"], 128)
    widths = (*_TEXT_WIDTHS, "hidden_size") if "embed_dim" in part else _TEXT_WIDTHS
    return changed | {k: narrow for k in widths if part.get(k) == width}


def _at_layers(part: dict[str, Any], depth: int, chosen: Sequence[int]) -> dict[str, Any]:
    """What a configuration lists for each layer, or says of some by number, for these."""
    found: dict[str, Any] = {}
    for key, value in part.items():
        if isinstance(value, list | tuple) and len(value) == depth:
            found[key] = [value[i] for i in chosen]
        elif isinstance(value, dict) and value and all(str(name).isdigit() for name in value):
            by_number = {int(name): item for name, item in value.items()}
            found[key] = {new: by_number[i] for new, i in enumerate(chosen) if i in by_number}
    return found
