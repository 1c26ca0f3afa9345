"""Every published weight has its place in our models, and every parameter has its source."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from test_deepseek_vl2_checkpoint import SMALL, TINY, published
from torch import Tensor
from transformers import AutoConfig, InternVLForConditionalGeneration

from internvl_chat_checkpoint import PUBLISHED
from ivcprune.models.deepseek_vl2 import DeepseekVL2ForConditionalGeneration
from ivcprune.models.internvl.config import convert_config
from ivcprune.models.internvl.conversion import convert_weights

FOLDER = Path(__file__).parents[1] / "data" / "published_keys"
SERIES = re.compile(r"\{(\d+)-(\d+)\}")


def expand(name: str) -> Iterator[str]:
    """`a.{0-2}.b` -> a.0.b, a.1.b, a.2.b."""
    if (series := SERIES.search(name)) is None:
        yield name
        return
    first, last = map(int, series.groups())
    for number in range(first, last + 1):
        yield from expand(f"{name[: series.start()]}{number}{name[series.end() :]}")


def keys_of(checkpoint: str) -> dict[str, tuple[int, ...]]:
    listed = json.loads((FOLDER / f"{checkpoint}.json").read_text())
    return {name: tuple(shape) for pattern, shape in listed.items() for name in expand(pattern)}


def weights_of(checkpoint: str) -> dict[str, Tensor]:
    return {n: torch.empty(shape, device="meta") for n, shape in keys_of(checkpoint).items()}


TOWER = 3 + 27 * 12 + 2
POOLING_HEAD = 13
LAYER = 1 + 3 * 64 + 3
"""Weights of SigLIP, of the pooling head that is published with it, and of a layer of experts."""


@pytest.mark.parametrize(
    ("checkpoint", "names", "parameters"),
    [
        ("internvl2_5_8b", 4 + 24 * 14 + 6 + 1 + 32 * 7 + 2, 8_075_365_376),
        # as in test_published_sizes, and the pooling head's 15,238,352, which our model has not
        (
            "deepseek_vl2_small",
            TOWER + POOLING_HEAD + 6 + 1 + 27 * (2 + 5) + 3 + 26 * LAYER + 2,
            16_133_111_152 + 15_238_352,
        ),
        (
            "deepseek_vl2_tiny",
            TOWER + POOLING_HEAD + 6 + 1 + 12 * (2 + 4) + 3 + 11 * LAYER + 2,
            3_355_263_088 + 15_238_352,
        ),
    ],
)
def test_the_lists_are_as_large_as_the_checkpoints(checkpoint, names, parameters):
    keys = keys_of(checkpoint)
    assert len(keys) == names
    assert sum(map(math.prod, keys.values())) == parameters


def test_internvl():
    config = convert_config(PUBLISHED)
    with torch.device("meta"):
        model = InternVLForConditionalGeneration(config)
    converted = convert_weights(weights_of("internvl2_5_8b").items(), config)
    expected = {name: w.shape for name, w in model.state_dict().items()}
    assert {name: w.shape for name, w in converted.items()} == expected


@pytest.mark.parametrize("size", ["small", "tiny"])
def test_deepseek_vl2(size):
    config = AutoConfig.for_model(**published({"small": SMALL, "tiny": TINY}[size]))
    _, found = DeepseekVL2ForConditionalGeneration.from_pretrained(
        None,
        config=config,
        state_dict=weights_of(f"deepseek_vl2_{size}"),
        device_map="meta",
        output_loading_info=True,
    )
    assert not found["missing_keys"]
    assert not found["mismatched_keys"]
    assert not found["unexpected_keys"]
