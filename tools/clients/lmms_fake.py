"""A model as lmms-eval has them, that knows nothing of pruning: what `ivcprune_wrap` wraps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from lmms_eval.api.model import lmms
from lmms_eval.protocol import ChatMessages
from transformers import Qwen2_5_VLForConditionalGeneration

from ivcprune.models.qwen.processors import ImageTextProcessor

from .samples import BUNDLED


class FakeInner(lmms):
    """The bundled model; answers in an order of its own, and drops images where told to."""

    is_simple = False

    def __init__(self, batch_size: int = 1, blind: bool = False, device: str = "cpu") -> None:
        super().__init__()
        self.model: Any = Qwen2_5_VLForConditionalGeneration.from_pretrained(
            BUNDLED, dtype=torch.float32
        ).eval()
        self.processor = ImageTextProcessor.from_pretrained(BUNDLED)
        self.batch_size, self.blind = int(batch_size), blind

    def loglikelihood(self, requests: Any) -> Any:
        raise NotImplementedError

    def generate_until_multi_round(self, requests: Any) -> Any:
        raise NotImplementedError

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        order = sorted(range(len(requests)), key=lambda i: (-len(requests[i].args[0]), i))
        answers = [""] * len(requests)
        for start in range(0, len(order), self.batch_size):
            some = order[start : start + self.batch_size]
            for i, text in zip(some, self._answer([requests[i] for i in some]), strict=True):
                answers[i] = text
        return answers

    def _answer(self, some: Sequence[Any]) -> list[str]:
        chats = []
        for request in some:
            _, to_messages, _, doc_id, task, split = request.args
            chats.append(ChatMessages(messages=to_messages(self.task_dict[task][split][doc_id])))
        turns = [chat.to_hf_messages() for chat in chats]
        images = [chat.extract_media()[0] for chat in chats]
        if self.blind:
            for turn in turns:
                turn[0]["content"] = [x for x in turn[0]["content"] if x["type"] == "text"]
        texts = self.processor.apply_chat_template(
            turns, tokenize=False, add_generation_prompt=True
        )
        inputs = self.processor(
            text=texts,
            images=None if self.blind else images,
            padding=True,
            padding_side="left",
            return_tensors="pt",
        )
        ids = self.model.generate(**inputs, max_new_tokens=32, do_sample=False)
        new = ids[:, inputs["input_ids"].shape[1] :]
        answers: list[str] = self.processor.batch_decode(new, skip_special_tokens=True)
        return answers
