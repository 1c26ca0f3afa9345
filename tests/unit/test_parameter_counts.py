"""The published checkpoints' sizes, on the meta device: our layer defaults are for these models.

DeepSeek-VL2's are in `test_deepseek_vl2_checkpoint`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForImageTextToText, PreTrainedModel

from ivcprune.models.registry import family_of, family_of_model

FOLDER = Path(__file__).parents[1] / "data" / "model_configs"

QWEN = {
    "qwen2_vl_2b": (2_208_985_600, 16),
    "qwen2_vl_7b": (8_291_375_616, 16),
    "qwen2_vl_72b": (73_405_560_320, 46),
    "qwen2_5_vl_3b": (3_754_622_976, 22),
    "qwen2_5_vl_7b": (8_292_166_656, 16),
    "qwen2_5_vl_32b": (33_452_718_336, 35),
    "qwen2_5_vl_72b": (73_410_777_344, 46),
    "qwen3_vl_2b": (2_127_532_032, 16),
    "qwen3_vl_4b": (4_437_815_808, 22),
    "qwen3_vl_8b": (8_767_123_696, 22),
    "qwen3_vl_32b": (33_357_390_064, 35),
}
OTHERS = {
    "internvl2_5_1b": (938_193_024, 12),
    "internvl2_5_2b": (2_205_754_368, 12),
    "internvl2_5_4b": (3_712_637_952, 18),
    "internvl2_5_8b": (8_075_365_376, 16),
    "internvl2_5_26b": (25_514_186_112, 24),
    "internvl2_5_38b": (38_388_164_992, 32),
    "internvl2_5_78b": (78_408_318_336, 40),
    "internvl3_1b": (938_193_024, 12),
    "internvl3_2b": (2_088_957_440, 14),
    "internvl3_8b": (7_944_373_760, 14),
    "internvl3_14b": (15_117_256_704, 24),
    "internvl3_38b": (38_388_164_992, 32),
    "internvl3_78b": (78_408_318_336, 40),
    "internvl3_5_1b": (1_060_897_792, 14),
    "internvl3_5_2b": (2_348_347_392, 14),
    "internvl3_5_4b": (4_732_489_216, 18),
    "internvl3_5_8b": (8_528_318_464, 18),
    "internvl3_5_14b": (15_119_523_840, 20),
    "internvl3_5_38b": (38_390_405_504, 32),
    "llava_1_5_7b": (7_063_427_072, 16),
    "llava_1_5_13b": (13_351_494_656, 20),
    "llava_onevision_0_5b": (893_675_552, 14),
    "llava_onevision_7b": (8_030_807_584, 16),
}
HYBRID = {
    "qwen3_5_0_8b": (852_985_920, 14),
    "qwen3_5_2b": (2_213_241_664, 14),
    "qwen3_5_4b": (4_539_265_536, 18),
    "qwen3_5_moe_122b_a10b": (122_562_817_776, 27),
    "qwen3_5_moe_397b_a17b": (396_802_360_816, 34),
    "qwen3_5_9b": (9_409_813_744, 18),
    "qwen3_5_27b": (27_356_728_560, 35),
    "qwen3_5_moe_35b_a3b": (35_107_181_936, 23),
}
WINDOWED = {
    "gemma3_4b": (4_300_079_472, 19),
    "gemma3_12b": (12_187_325_040, 27),
    "gemma3_27b": (27_432_406_640, 35),
}
EXPECTED = QWEN | OTHERS | HYBRID | WINDOWED
"""Parameters, and the layer of IVC-Prune's selection."""


def published_config(name: str) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return config


def unloaded(name: str) -> PreTrainedModel:
    """The model on the meta device: shapes without weights."""
    published = published_config(name)
    config = family_of(published["model_type"]).read_config(published)
    with torch.device("meta"):
        model: PreTrainedModel = AutoModelForImageTextToText.from_config(config)
    model.tie_weights()
    return model


@pytest.mark.parametrize("name", EXPECTED)
def test_parameters_and_selection_layer(name):
    model = unloaded(name)
    family = family_of_model(model)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert (count, family.selection_layer(model.config)) == EXPECTED[name]
    assert name.startswith(family.name)
    assert len(family.layers(model)) == model.config.get_text_config().num_hidden_layers


@pytest.mark.parametrize("name", [*QWEN, *HYBRID])
def test_frequencies_are_shared_out_among_the_axes(name):
    model = unloaded(name)
    family = family_of_model(model)
    inv_freq = family.inverse_frequencies(model)
    axis = family.frequency_axis(model, len(inv_freq))
    text = model.config.text_config
    assert axis.bincount().tolist() == text.rope_parameters["mrope_section"]
    base = text.rope_parameters["rope_theta"]
    assert inv_freq[1].item() == pytest.approx(base ** (-2 / (2 * len(inv_freq))))


# The same numbers from the sizes alone, without any module ----------------------------------------


@pytest.mark.parametrize("name", OTHERS)
def test_numbers_of_parameters_counted_by_hand(name):
    config = published_config(name)
    text = config.get("text_config") or config["llm_config"]
    width, vision = text["hidden_size"], config["vision_config"]
    patches = vision["hidden_size"]
    total = decoder(text)
    if name.startswith("internvl"):
        merged = 4 * patches  # 2 x 2 patches become one token
        total += intern_vit(vision) + 2 * merged + perceptron(merged, width)
    elif name.startswith("llava_onevision"):
        newline = width
        total += siglip(vision) + perceptron(patches, width) + newline
    else:
        total += clip(vision) + perceptron(patches, width)
    assert total == EXPECTED[name][0]


@pytest.mark.parametrize("name", WINDOWED)
def test_parameters_of_gemma_counted_by_hand(name):
    """Four norms a layer; queries and keys normalised; tied embeddings; one matrix to the text."""
    config = published_config(name)
    text, vision = config["text_config"], config["vision_config"]
    width, head = text["hidden_size"], text["head_dim"]
    heads = text["num_attention_heads"] + text["num_key_value_heads"]
    layer = 2 * width * heads * head + 3 * width * text["intermediate_size"]
    layer += 4 * width + 2 * head
    decoder = text["num_hidden_layers"] * layer + width + 262_208 * width
    patches = vision["hidden_size"]
    tower = (896 // 14) ** 2 * patches + (3 * 14**2 + 1) * patches + 2 * patches
    projector = patches * width + patches
    assert decoder + tower + transformer(vision) + projector == EXPECTED[name][0]


@pytest.mark.parametrize("name", HYBRID)
def test_parameters_of_hybrids_counted_by_hand(name):
    """Three gated delta nets to one layer of gated attention, each with its feed-forward part."""
    config = published_config(name)
    text, vision = config["text_config"], config["vision_config"]
    width, head = text["hidden_size"], text["head_dim"]
    heads, kv_heads = text["num_attention_heads"], text["num_key_value_heads"]
    # queries with their gates, and the output; keys and values; their norms
    full = 3 * width * heads * head + 2 * width * kv_heads * head + 2 * head
    v_heads = text["linear_num_value_heads"]
    keys, values = 128 * text["linear_num_key_heads"], 128 * v_heads
    mixed = 2 * keys + values
    # queries, keys, values; gate and output; two numbers a head; convolution; decay; norm
    linear = width * mixed + 2 * width * values + 2 * width * v_heads
    linear += 4 * mixed + 2 * v_heads + 128
    if name.startswith("qwen3_5_moe"):
        experts = text["num_experts"] * 3 * width * text["moe_intermediate_size"]
        shared = 3 * width * text["shared_expert_intermediate_size"] + width
        forward = experts + shared + text["num_experts"] * width
    else:
        forward = 3 * width * text["intermediate_size"]
    depth = text["num_hidden_layers"]
    decoder = depth // 4 * (full + 3 * linear) + depth * (forward + 2 * width)
    decoder += width + (1 if text["tie_word_embeddings"] else 2) * 248_320 * width
    patches = vision["hidden_size"]
    tower = (3 * 2 * 16**2 + 1) * patches + 2304 * patches
    merged = 4 * patches
    merger = 2 * patches + (merged + 1) * merged + (merged + 1) * width
    blocks = transformer(vision | {"num_hidden_layers": vision["depth"]})
    assert decoder + tower + blocks + merger == EXPECTED[name][0]


def perceptron(inner: int, width: int) -> int:
    """Two layers with biases, from the vision tower to the language model."""
    return (inner + 1) * width + (width + 1) * width


def decoder(text: dict[str, Any]) -> int:
    """Llama's layers; Qwen2 has biases on q, k and v, Qwen3 norms of queries and keys instead."""
    kind = text.get("model_type") or text["architectures"][0]
    width, inner, depth = (
        text[k] for k in ("hidden_size", "intermediate_size", "num_hidden_layers")
    )
    heads, kv_heads = text["num_attention_heads"], text["num_key_value_heads"]
    head = text.get("head_dim", width // heads)
    layer = 2 * width * (heads + kv_heads) * head + 3 * width * inner + 2 * width
    if "qwen2" in kind.lower():
        layer += (heads + 2 * kv_heads) * head
    if "qwen3" in kind.lower():
        layer += 2 * head
    embeddings = text["vocab_size"] * width * (1 if text.get("tie_word_embeddings") else 2)
    return depth * layer + width + embeddings


def transformer(vision: dict[str, Any]) -> int:
    """Layers of a vision tower whose every part has a bias."""
    width, inner = vision["hidden_size"], vision["intermediate_size"]
    attention = 4 * (width + 1) * width
    feed_forward = 2 * width * inner + inner + width
    return vision["num_hidden_layers"] * (attention + feed_forward + 2 * 2 * width)


def intern_vit(vision: dict[str, Any]) -> int:
    """A class token, 32 x 32 patches of 14 x 14 pixels; layer scales in every layer."""
    width = vision["hidden_size"]
    embeddings = width + (1 + 32**2) * width + (3 * 14**2 + 1) * width
    scales = 2 * width
    if vision["norm_type"] == "layer_norm":
        changes = scales
    else:  # of 6 B: norms and q, k, v without biases; norms of queries and keys
        changes = scales - 2 * width - 3 * width + 2 * width
    return embeddings + transformer(vision) + vision["num_hidden_layers"] * changes


def clip(vision: dict[str, Any]) -> int:
    """A class token, 24 x 24 patches without a bias, norms before and after the layers."""
    width = vision["hidden_size"]
    return width + (1 + 24**2) * width + 3 * 14**2 * width + 2 * 2 * width + transformer(vision)


def siglip(vision: dict[str, Any]) -> int:
    """27 x 27 patches, a norm after the layers, no pooling head."""
    width = vision["hidden_size"]
    return 27**2 * width + (3 * 14**2 + 1) * width + 2 * width + transformer(vision)
