"""NVIDIA's kvpress: presses that drop cache entries after the prefill of a layer."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

from kvpress import KnormPress, StreamingLLMPress
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForImageTextToText

from .readings import Answer, Clock, serve

PRESSES = {"knorm": KnormPress, "streaming_llm": StreamingLLMPress}


class KVPress:
    def __init__(self, folder: Path) -> None:
        self._model: Any = AutoModelForImageTextToText.from_pretrained(
            folder / "model", attn_implementation="sdpa"
        ).eval()

    def answer(
        self, variant: str, inputs: dict[str, Tensor], clock: Clock, new_tokens: int
    ) -> Answer:
        given = {name: x for name, x in inputs.items() if name != "mm_token_type_ids"}
        ids = given["input_ids"]
        visual = int((ids[0] == self._model.config.image_token_id).sum())
        block: Any = nullcontext()
        if variant in PRESSES:
            # as many entries as with half of the visual tokens, of all tokens of a sample
            block = PRESSES[variant](compression_ratio=0.5 * visual / ids.shape[1])(self._model)
        with block:
            answered = self._model.generate(
                **given, max_new_tokens=new_tokens, do_sample=False, stopping_criteria=[clock]
            )
        return Answer(answered[:, ids.shape[1] :].tolist(), None)


if __name__ == "__main__":
    serve(KVPress, load_file)
