"""The published code's side: its fork of transformers 4.51.3, from the folder that the user gave.

The driver puts that fork and the stand-in for FlashAttention on the path. Nothing of it is changed:
what it checks before it takes FlashAttention, a GPU, is said to be there while it checks, the
ids of its image markers, Qwen's by default, are those of this model, and the indices that it keeps
are read as they pass.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from safetensors.torch import load_file
from torch import Tensor

from .plan import LAYER
from .readings import Answer, Clock, serve

SDPA_TOWER = " sdpa tower"
"""Ends a variant whose vision tower has transformers' own SDPA; it stays the same for the rest."""


class Published:
    def __init__(self, folder: Path) -> None:
        there = mock.patch.object(torch.cuda, "is_available", return_value=True)
        with there, mock.patch.object(torch.version, "cuda", "12.4"):
            flash, sdpa = _load(folder, "flash_attention_2"), _load(folder, "sdpa")
        self._towers = {False: flash.visual, True: sdpa.visual}
        self._model: Any = flash
        self._drop = flash.model.prune_past_key_values
        flash.model.prune_past_key_values = self._noting
        self._kept: list[int] = []

    def _noting(self, cache: Any, kept: Tensor, layer: int) -> Any:
        self._kept = kept.tolist()
        return self._drop(cache, kept, layer)

    def answer(
        self, variant: str, inputs: dict[str, Tensor], clock: Clock, new_tokens: int
    ) -> Answer:
        pruned = variant.startswith("ivc_prune")
        self._model.config.ivcp_config = {"ivcp_k": LAYER} if pruned else None
        self._model.visual = self._towers[variant.endswith(SDPA_TOWER)]
        given = {name: x for name, x in inputs.items() if name != "mm_token_type_ids"}
        ids = self._model.generate(
            **given, max_new_tokens=new_tokens, do_sample=False, stopping_criteria=[clock]
        )
        prompt = given["input_ids"][0]
        visual = (prompt == self._model.config.image_token_id).tolist()
        kept = [[i for i in self._kept if visual[i]]] if pruned else None
        return Answer(ids[:, len(prompt) :].tolist(), kept)


def _load(folder: Path, attention: str) -> Any:
    from transformers import Qwen2_5_VLForConditionalGeneration

    model: Any = Qwen2_5_VLForConditionalGeneration.from_pretrained(
        folder / "model_of_4", attn_implementation=attention, torch_dtype=torch.float32
    ).eval()
    model.get_image_token_length_single_pair = partial(
        model.get_image_token_length_single_pair,
        start_token=model.config.vision_start_token_id,
        end_token=model.config.vision_end_token_id,
    )
    return model


if __name__ == "__main__":
    serve(Published, load_file)
