"""Sizes of the checkpoints of later families: modules on the meta device, and again by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from test_parameter_counts import (
    EXPECTED as EARLIER,
)
from test_parameter_counts import (
    FOLDER,
    clip,
    decoder,
    perceptron,
    published_config,
    transformer,
    unloaded,
)

from ivcprune.models.registry import family_of_model

Config = dict[str, Any]

EXPECTED = {
    "gemma4_26b_a4b": (25_805_933_872, 17),
    "gemma4_31b": (31_273_086_512, 34),
    "qwen3_vl_30b_a3b": (31_070_754_032, 27),
    "qwen3_vl_235b_a22b": (235_670_022_896, 54),
    "llava_next_7b": (7_566_747_648, 16),
    "llava_next_vicuna_7b": (7_063_431_168, 16),
    "llava_next_vicuna_13b": (13_351_499_776, 20),
    "glm4_1v_9b": (10_292_777_472, 23),
    "glm4_5v": (107_710_927_360, 26),
    "mistral_small_3_1_24b": (24_011_361_280, 23),
    "ministral_3_8b": (8_918_026_240, 19),
    "smolvlm_256m": (256_484_928, 17),
    "smolvlm_500m": (507_482_304, 18),
    "smolvlm_2b": (2_246_272_880, 14),
    "idefics3_8b": (8_462_086_384, 18),
    "paddleocr_vl": (905_601_648, 10),
}
"""Parameters, and the layer of IVC-Prune's selection."""


@pytest.mark.parametrize("name", EXPECTED)
def test_parameters_and_selection_layer(name: str) -> None:
    model = unloaded(name)
    count = sum(parameter.numel() for parameter in model.parameters())
    family = family_of_model(model)
    assert (count, family.selection_layer(model.config)) == EXPECTED[name]
    assert family_of_model(model) is family


def test_every_configuration_is_counted() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == {*EARLIER, *EXPECTED}


# The same numbers from the sizes alone, without any module ----------------------------------------


def gemma4(text: Config, vision: Config, _: Config) -> int:
    """Full layers have wider heads, fewer keys, which are values too; the values' norm is bare."""
    width, heads = text["hidden_size"], text["num_attention_heads"]
    common = 3 * width * text["intermediate_size"] + 4 * width
    if experts := text.get("num_experts", 0):
        routed = experts * 3 * width * text["moe_intermediate_size"]
        # scores of experts, with a scale for each and one for each dimension; three more norms
        common += routed + experts * width + experts + width + 3 * width
    window = 2 * width * (heads + text["num_key_value_heads"]) * 256 + 2 * 256
    full = width * (2 * heads + text["num_global_key_value_heads"]) * 512 + 2 * 512
    depth = text["num_hidden_layers"]
    total = depth * common + 5 * depth // 6 * window + depth // 6 * full
    total += width + 262_144 * width
    inner, layers = vision["hidden_size"], vision["num_hidden_layers"]
    layer = 4 * inner**2 + 3 * inner * vision["intermediate_size"] + 4 * inner + 2 * 72
    tower = 3 * 16**2 * inner + 2 * 10_240 * inner + layers * layer
    return total + tower + inner * width


def qwen3_vl_moe(text: Config, vision: Config, _: Config) -> int:
    width, heads = text["hidden_size"], text["num_attention_heads"] + text["num_key_value_heads"]
    layer = 2 * width * heads * 128 + 2 * 128 + 2 * width
    layer += 128 * (3 * width * text["moe_intermediate_size"] + width)
    total = text["num_hidden_layers"] * layer + width + 2 * 151_936 * width
    inner = vision["hidden_size"]
    tower = (3 * 2 * 16**2 + 1) * inner + 2304 * inner
    merged = 4 * inner
    merger = (merged + 1) * merged + (merged + 1) * width
    blocks = transformer(vision | {"num_hidden_layers": vision["depth"]})
    # DeepStack's three normalise what is merged already
    return total + tower + blocks + 4 * merger + 2 * inner + 3 * 2 * merged


def llava_next(text: Config, vision: Config, _: Config) -> int:
    newline = width = text["hidden_size"]
    return decoder(text) + clip(vision) + perceptron(vision["hidden_size"], width) + newline


def glm4v(text: Config, vision: Config, _: Config) -> int:
    """Biases on q, k, v; a gate in the feed-forward parts; four norms a layer, two with experts."""
    width, heads, kv_heads = (
        text[key] for key in ("hidden_size", "num_attention_heads", "num_key_value_heads")
    )
    attention = 2 * width * (heads + kv_heads) * 128 + (heads + 2 * kv_heads) * 128
    forward, depth = 3 * width * text["intermediate_size"], text["num_hidden_layers"]
    if "n_routed_experts" in text:
        sparse = (128 + 1) * 3 * width * 1408 + 128 * width
        total = depth * (attention + 2 * width) + forward + (depth - 1) * sparse
    else:
        total = depth * (attention + forward + 4 * width)
    total += width + 2 * text["vocab_size"] * width
    inner = vision["hidden_size"]
    tower = (3 * 2 * 14**2 + 1) * inner + 24**2 * inner + 2 * inner
    tower += vision["depth"] * (4 * inner**2 + 3 * inner * width + 2 * inner)
    merger = (
        (4 * inner + 1) * width + width**2 + 2 * width + 3 * width * vision["intermediate_size"]
    )
    return total + tower + merger


def mistral3(text: Config, vision: Config, _: Config) -> int:
    """Pixtral: no bias anywhere; its patches are merged four by four, then brought to the text."""
    width, inner = text["hidden_size"], vision["hidden_size"]
    layer = 4 * inner**2 + 3 * inner * vision["intermediate_size"] + 2 * inner
    tower = 3 * 14**2 * inner + inner + vision["num_hidden_layers"] * layer
    return decoder(text) + tower + inner + 4 * inner**2 + inner * width + width**2


def idefics3(text: Config, vision: Config, config: Config) -> int:
    """So many patches as the square of the scale factor become one token."""
    inner, side = vision["hidden_size"], vision["image_size"] // vision["patch_size"]
    tower = (3 * vision["patch_size"] ** 2 + 1) * inner + side**2 * inner + 2 * inner
    connector = config["scale_factor"] ** 2 * inner * text["hidden_size"]
    return decoder(text) + tower + transformer(vision) + connector


def paddleocr_vl(text: Config, vision: Config, _: Config) -> int:
    width, inner = text["hidden_size"], vision["hidden_size"]
    tower = (3 * 14**2 + 1) * inner + 27**2 * inner + 2 * inner
    merged = 4 * inner
    projector = 2 * inner + (merged + 1) * merged + (merged + 1) * width
    return decoder(text) + tower + transformer(vision) + projector


BY_HAND: dict[str, Callable[[Config, Config, Config], int]] = {
    "gemma4": gemma4,
    "qwen3_vl_moe": qwen3_vl_moe,
    "llava_next": llava_next,
    "glm4v": glm4v,
    "glm4v_moe": glm4v,
    "mistral3": mistral3,
    "idefics3": idefics3,
    "paddleocr_vl": paddleocr_vl,
}
"""By the type of the configuration."""


@pytest.mark.parametrize("name", EXPECTED)
def test_numbers_of_parameters_counted_by_hand(name: str) -> None:
    config = published_config(name)
    count = BY_HAND[config["model_type"]]
    assert count(config["text_config"], config["vision_config"], config) == EXPECTED[name][0]
