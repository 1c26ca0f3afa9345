"""Random models of the served families, in a folder that an engine can load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ivcprune.testing import tiny_model

from .samples import with_stock_processors

STOCK = {
    "qwen2_vl": ("Qwen2VLProcessor", "Qwen2VLVideoProcessor"),
    "qwen2_5_vl": ("Qwen2_5_VLProcessor", "Qwen2VLVideoProcessor"),
    "qwen3_vl": ("Qwen3VLProcessor", "Qwen3VLVideoProcessor"),
}
"""Names of transformers' own processors, for each family that is served."""

HEAD = 32
"""Size of a head: the smallest that the engine's CPU kernels have."""


def random_model(family: str, folder: Path) -> tuple[Any, Any]:
    """A random model and its processor, also written to the folder.

    The tiny model of the tests with heads of another size; DeepStack stays where it is.
    """
    small, processor = tiny_model(family)
    config = small.config
    text = config.text_config
    text.num_attention_heads = text.hidden_size // HEAD
    text.num_key_value_heads = 1
    if hasattr(text, "head_dim"):
        text.head_dim = HEAD
    sections = [2 * size for size in text.rope_parameters["mrope_section"]]
    text.rope_parameters = {**text.rope_parameters, "mrope_section": sections}
    if family == "qwen3_vl":
        text.rope_parameters["mrope_interleaved"] = True  # as its checkpoints have it
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = type(small)(config)
        for parameter in model.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
    model.generation_config.pad_token_id = small.generation_config.pad_token_id
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    with_stock_processors(folder, *STOCK[family])
    return model.eval(), processor
