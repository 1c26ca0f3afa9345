"""The published checkpoints' sizes, on the meta device: our layer defaults are for these models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForImageTextToText

from ivcprune.models.registry import family_of_model

FOLDER = Path(__file__).parents[1] / "data" / "model_configs"

EXPECTED = {
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
"""Parameters, and the layer of IVC-Prune's selection."""


@pytest.mark.parametrize("name", EXPECTED)
def test_parameters_and_selection_layer(name):
    config = AutoConfig.for_model(**json.loads((FOLDER / f"{name}.json").read_text()))
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
    model.tie_weights()
    family = family_of_model(model)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert (count, family.selection_layer(config)) == EXPECTED[name]
    assert name.startswith(family.name)
    assert len(family.layers(model)) == config.text_config.num_hidden_layers


@pytest.mark.parametrize("name", EXPECTED)
def test_frequencies_are_shared_out_among_the_axes(name):
    config = AutoConfig.for_model(**json.loads((FOLDER / f"{name}.json").read_text()))
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
    family = family_of_model(model)
    inv_freq = family.inverse_frequencies(model)
    axis = family.frequency_axis(model, len(inv_freq))
    text = config.text_config
    assert axis.bincount().tolist() == text.rope_parameters["mrope_section"]
    base = text.rope_parameters["rope_theta"]
    assert inv_freq[1].item() == pytest.approx(base ** (-2 / (2 * len(inv_freq))))
