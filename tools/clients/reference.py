"""What `prune` around transformers answers: the truth that clients are compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import Qwen2_5_VLForConditionalGeneration

from ivcprune import prune
from ivcprune.models.qwen.processors import ImageTextProcessor
from ivcprune.policy import PruningPolicy

from .samples import BUNDLED, messages


@dataclass(frozen=True)
class Answer:
    """Token ids, log-probabilities `[steps][vocabulary]`, and what was kept of the picture."""

    ids: list[int]
    text: str
    log_probs: list[list[float]]
    n_visual: int
    kept: list[int]
    kv_bytes: int
    prompt_length: int


class Reference:
    """The bundled model in float32 under a policy."""

    def __init__(self, policy: PruningPolicy | str) -> None:
        self._policy = policy
        self._model: Any = Qwen2_5_VLForConditionalGeneration.from_pretrained(
            BUNDLED, dtype=torch.float32
        ).eval()
        self._processor = ImageTextProcessor.from_pretrained(BUNDLED)

    def answer(self, text: str, pictures: Sequence[Any], max_new_tokens: int = 8) -> Answer:
        """The greedy answer; `kept` counts from the picture's first token."""
        prompt = self._processor.apply_chat_template(
            messages(text, len(pictures)), add_generation_prompt=True, tokenize=False
        )
        images = [list(pictures)] if pictures else None
        inputs = self._processor(text=[prompt], images=images, return_tensors="pt")
        with prune(self._model, self._policy) as run, torch.inference_mode():
            made = self._model.generate(
                **inputs,
                max_new_tokens=max_new_tokens,
                do_sample=False,
                output_logits=True,
                return_dict_in_generate=True,
            )
        assert run.stats is not None
        length = inputs["input_ids"].shape[1]
        ids = made.sequences[0, length:].tolist()
        is_image = inputs["input_ids"][0] == self._model.config.image_token_id
        start = int(is_image.int().argmax())
        return Answer(
            ids=ids,
            text=self._processor.decode(ids, skip_special_tokens=True),
            log_probs=[torch.log_softmax(x[0].float(), -1).tolist() for x in made.logits],
            n_visual=run.stats.n_visual[0],
            kept=[int(index) - start for index in run.stats.kept[0]],
            kv_bytes=run.stats.kv_bytes_per_sequence[0],
            prompt_length=length,
        )
