"""What `prune` around transformers answers: the truth that clients are compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from transformers import Qwen2_5_VLForConditionalGeneration

from ivcprune import prune
from ivcprune.models.qwen.processors import ImageTextProcessor
from ivcprune.policy import PruningPolicy

from .samples import BUNDLED, messages


@dataclass(frozen=True)
class Answer:
    """A greedy answer, and what was kept of the prompt's pictures.

    Attributes:
        log_probs: `[steps][vocabulary]`.
        pictures: of each picture the number of its tokens, then the kept ones, counted from its
            first token.
        prompt_length: with all tokens.
    """

    ids: list[int]
    text: str
    log_probs: list[list[float]]
    pictures: list[tuple[int, ...]]
    kv_bytes: int
    prompt_length: int

    @property
    def n_visual(self) -> int:
        return sum(picture[0] for picture in self.pictures)

    @property
    def n_kept(self) -> int:
        return sum(len(picture) - 1 for picture in self.pictures)

    @property
    def pruned_length(self) -> int:
        """Tokens of the prompt that are left."""
        return self.prompt_length - self.n_visual + self.n_kept


class Reference:
    """A model in float32 under a policy.

    Args:
        loaded: model and processor; None for the bundled ones.
    """

    def __init__(self, policy: PruningPolicy | str, loaded: tuple[Any, Any] | None = None) -> None:
        self._policy = policy
        self._model, self._processor = loaded or _bundled()

    def answer(self, text: str, pictures: Sequence[Any], max_new_tokens: int = 8) -> Answer:
        """The answer to a text behind pictures."""
        return self.answer_prompt(self.prompt(text, len(pictures)), pictures, max_new_tokens)

    def prompt(self, text: str, n_pictures: int) -> str:
        """The user's turn as the chat template writes it."""
        written: str = self._processor.apply_chat_template(
            messages(text, n_pictures), add_generation_prompt=True, tokenize=False
        )
        return written

    def answer_prompt(
        self, prompt: str, pictures: Sequence[Any], max_new_tokens: int = 8
    ) -> Answer:
        """The answer to a prompt that has one image token for each picture."""
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
        return Answer(
            ids=ids,
            text=self._processor.decode(ids, skip_special_tokens=True),
            log_probs=[torch.log_softmax(x[0].float(), -1).tolist() for x in made.logits],
            pictures=_by_picture(is_image.tolist(), [int(i) for i in run.stats.kept[0]]),
            kv_bytes=run.stats.kv_bytes_per_sequence[0],
            prompt_length=length,
        )


def _by_picture(is_image: Sequence[bool], kept: Sequence[int]) -> list[tuple[int, ...]]:
    """Of each run of image tokens its length, and the kept ones counted from its start."""
    pictures = []
    for visual, places in groupby(range(len(is_image)), key=is_image.__getitem__):
        run = list(places)
        if visual:
            pictures.append((len(run), *(i - run[0] for i in kept if run[0] <= i <= run[-1])))
    return pictures


def _bundled() -> tuple[Any, Any]:
    model: Any = Qwen2_5_VLForConditionalGeneration.from_pretrained(BUNDLED, dtype=torch.float32)
    return model.eval(), ImageTextProcessor.from_pretrained(BUNDLED)
