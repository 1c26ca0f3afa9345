"""Training batches of single questions, as they are asked when the model is used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from PIL.Image import Image
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ..data.sample import Sample
from ..data.scenes.pages import Page
from ..data.scenes.questions import Question
from .cells import IGNORE
from .validation import encode


class Turns(NamedTuple):
    """B prompts, each with one question, and their answers of up to T tokens.

    Attributes:
        prompts: what the processor makes of them, left-padded.
        answers: the tokens of the answers and of their end, long [B, T].
        labels: the same, `IGNORE` behind the end.
    """

    prompts: dict[str, Tensor]
    answers: Tensor
    labels: Tensor


class TurnMaker:
    """Turns an image and its questions into prompts and answers, and several into a batch.

    Args:
        processor: of the model.
        prompts: template with `{question}` for each task.
    """

    def __init__(self, processor: Any, prompts: Mapping[str, str]) -> None:
        self.processor = processor
        self.prompts = prompts

    def pack(
        self, page: Page, image: Image, questions: Sequence[Question]
    ) -> list[tuple[Sample, str]]:
        """A prompt of its own for each question, and what answers it."""
        return [(Sample("", q.task, [image], q.text), q.answer) for q in questions]

    def collate(self, items: Sequence[list[tuple[Sample, str]]]) -> Turns:
        samples, answers = zip(*(turn for turns in items for turn in turns), strict=True)
        tokenizer = self.processor.tokenizer
        ids = [
            torch.tensor([*tokenizer(answer).input_ids, tokenizer.eos_token_id])
            for answer in answers
        ]
        return Turns(
            prompts=dict(encode(self.processor, samples, self.prompts)),
            answers=pad_sequence(ids, True, tokenizer.pad_token_id),
            labels=pad_sequence(ids, True, IGNORE),
        )
