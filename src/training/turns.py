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
from ..data.scenes.scene import Scene
from ..models.base import Family
from .cells import IGNORE
from .frames import answer_to, framed
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


class Turn(NamedTuple):
    """A question as the model will be asked, and what decides its answer."""

    sample: Sample
    scene: Scene
    question: Question


class TurnMaker:
    """Turns an image and its questions into prompts and answers, and several into a batch.

    Args:
        family, processor: of the model.
        prompts: template with `{question}` for each task.
    """

    def __init__(self, family: Family, processor: Any, prompts: Mapping[str, str]) -> None:
        self.family = family
        self.processor = processor
        self.prompts = prompts

    def pack(self, page: Page, image: Image, questions: Sequence[Question]) -> list[Turn]:
        """A prompt of its own for each question, and what answers it."""
        return [Turn(Sample("", q.task, [image], q.text), page.scene, q) for q in questions]

    def collate(self, items: Sequence[list[Turn]]) -> Turns:
        turns = [turn for of_image in items for turn in of_image]
        inputs = encode(self.processor, [turn.sample for turn in turns], self.prompts)
        sizes = self.family.input_sizes(inputs, self.processor)
        tokenizer = self.processor.tokenizer
        ids = []
        for turn, size in zip(turns, sizes, strict=True):
            answer = answer_to(turn.question, framed(turn.scene, size))
            ids.append(torch.tensor([*tokenizer(answer).input_ids, tokenizer.eos_token_id]))
        return Turns(
            prompts=dict(inputs),
            answers=pad_sequence(ids, True, tokenizer.pad_token_id),
            labels=pad_sequence(ids, True, IGNORE),
        )
