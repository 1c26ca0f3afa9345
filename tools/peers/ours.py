"""This project's side: `prune` on the installed transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForImageTextToText

from ivcprune import load_policy, prune

from .plan import LAYER
from .readings import Answer, Clock, serve


class Ours:
    def __init__(self, folder: Path) -> None:
        self._model: Any = AutoModelForImageTextToText.from_pretrained(
            folder / "model", attn_implementation="sdpa"
        ).eval()
        self._policy = load_policy("ivc_prune", f"stages.select.layer={LAYER}", family="qwen2_5_vl")

    def answer(
        self, variant: str, inputs: dict[str, Tensor], clock: Clock, new_tokens: int
    ) -> Answer:
        options = {"max_new_tokens": new_tokens, "do_sample": False, "stopping_criteria": [clock]}
        length = inputs["input_ids"].shape[1]
        if variant == "none":
            return Answer(self._model.generate(**inputs, **options)[:, length:].tolist(), None)
        with prune(self._model, self._policy) as run:
            ids = self._model.generate(**inputs, **options)
            assert run.stats is not None
            return Answer(ids[:, length:].tolist(), [kept.tolist() for kept in run.stats.kept])


if __name__ == "__main__":
    serve(Ours, load_file)
