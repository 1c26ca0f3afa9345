"""Images of the families with stock image processors: bit-equal pixels, and as many tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ivcprune.models.registry import family_named
from ivcprune.testing import tiny_model

SIZES = (
    *((28, 28), (56, 56), (57, 55), (84, 84), (100, 100), (112, 56), (56, 112), (113, 57)),
    *((168, 56), (56, 168), (224, 224), (301, 199), (199, 301), (336, 112), (112, 336)),
    *((640, 32), (32, 640), (800, 9), (9, 800), (1, 1)),
)
"""Width and height in pixels, extreme aspects among them."""
PLACEHOLDERS = {"internvl": "<IMG_CONTEXT>", "llava": "<image>", "llava_onevision": "<image>"}


def picture(width: int, height: int, seed: int) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(noise)


@pytest.mark.parametrize("family", PLACEHOLDERS)
def test_they_equal_those_of_the_stock_image_processor(family: str, tmp_path: Any) -> None:
    model, tiny = tiny_model(family)
    model.config.save_pretrained(tmp_path)
    tiny.save_pretrained(tmp_path)
    processor = family_named(family).load_processor(tmp_path)
    image_class = type(processor.image_processor)
    assert image_class.__module__.startswith("transformers.")
    assert "_pil_" in image_class.__module__
    stock = image_class(**tiny.image_processor.to_dict())
    assert len(set(SIZES)) == 20
    for i, size in enumerate(SIZES):
        image = picture(*size, i)
        ours = processor(text=[PLACEHOLDERS[family]], images=[image], return_tensors="pt")
        theirs = stock(image, return_tensors="pt")
        assert torch.equal(ours["pixel_values"], torch.as_tensor(theirs["pixel_values"]))
        blocks = family_named(family).blocks(model.model, ours, torch.zeros(1, 1, 1).long())
        n_tokens = int((ours["input_ids"] == model.config.image_token_id).sum())
        assert sum(len(block.cell) for block in blocks) == n_tokens > 0
