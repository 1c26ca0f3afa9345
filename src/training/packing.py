"""Training batches: several questions about an image share one sequence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from PIL.Image import Image
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ..data.prompts import QUESTION
from ..data.scenes.pages import Page
from ..data.scenes.questions import Question
from .architectures.base import Architecture
from .cells import IGNORE, describe_cells, describe_characters
from .frames import answer_to, framed

PADDING = -1
"""Segment of padding; segment 0 is the image with the text before it, k the k-th question."""


class Batch(NamedTuple):
    """Tensors of B packed sequences of up to S tokens, with M visual tokens in all.

    Attributes:
        input_ids: long [B, S].
        position_ids: long [B, S], or [A, B, S] on A > 1 rotary axes; they restart for each
            question.
        attention_mask: float [B, 1, S, S], added to the attention scores.
        labels: long [B, S], the token that follows where it is supervised, else `IGNORE`.
        pictures: what else the model takes, its pixels among it.
        pointers: bool [B, S, S], visual tokens that show what a supervised position is about.
        cells: long [M, 8], what a visual token shows: row, column, colour, shape and the box
            `x1 y1 x2 y2` in bins of 7 px; background has colour and shape "none", box `IGNORE`.
        characters: long [M, 2], the characters at the left and the right of a visual token.
    """

    input_ids: Tensor
    position_ids: Tensor
    attention_mask: Tensor
    labels: Tensor
    pictures: dict[str, Tensor]
    pointers: Tensor
    cells: Tensor
    characters: Tensor


class Packed(NamedTuple):
    """One image with its questions, S tokens long: the fields of `Batch` before padding.

    Attributes:
        segments: long [S], which question a token belongs to.
        about: bool [S, T], which of the page's things and characters, T in all, a supervised
            position is about.
        shown: bool [N, T], which of them each of the N visual tokens shows.
    """

    input_ids: Tensor
    position_ids: Tensor
    labels: Tensor
    segments: Tensor
    about: Tensor
    shown: Tensor
    cells: Tensor
    characters: Tensor
    pictures: dict[str, Tensor]


class Packer:
    """Turns an image and its questions into one sequence, and several of those into a batch.

    Args:
        architecture: how the model takes pictures.
        processor: of the model; its chat template surrounds every question.
        prompts: template with `{question}` for each task.
    """

    def __init__(
        self, architecture: Architecture, processor: Any, prompts: Mapping[str, str]
    ) -> None:
        self.architecture = architecture
        self.processor = processor
        self.prompts = prompts
        self._known_ids: dict[str, list[int]] = {}
        content = [{"type": "image"}, {"type": "text", "text": QUESTION}]
        turn = processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        before, _, self.after_question = turn.partition(QUESTION)
        before_image, _, after_image = before.partition(processor.image_token)
        opening, closing = architecture.around_image
        self.before_image = self._ids(before_image + opening)
        self.after_image = self._ids(closing + after_image)
        self.end = [processor.tokenizer.eos_token_id]

    def _ids(self, text: str) -> list[int]:
        # Questions recur: remembering their tokens saves two thirds of the time that packing takes.
        if text not in self._known_ids:
            self._known_ids[text] = self.processor.tokenizer(text).input_ids
        return self._known_ids[text]

    def pack(self, page: Page, image: Image, questions: Sequence[Question]) -> Packed:
        """The page's image once, then each question with its answer."""
        picture = self.architecture.picture(self.processor, image)
        scene = framed(page.scene, picture.size)
        cells, shown_things = describe_cells(scene, picture.areas)
        characters, shown_characters = describe_characters(page.writings, picture.areas)
        shown = torch.cat([shown_things, shown_characters], 1)
        n_cells, n_shown = shown.shape
        start, after = len(self.before_image), len(self.after_image)
        axes, resume = len(picture.positions), start + picture.extent
        positions = [_count(0, start, axes), picture.positions + start, _count(resume, after, axes)]
        ids = [*self.before_image, *[self.processor.image_token_id] * n_cells, *self.after_image]
        head = len(ids)
        labels, segments = [IGNORE] * head, [0] * head
        about = [torch.zeros(head, n_shown, dtype=torch.bool)]
        for number, question in enumerate(questions, 1):
            words = self.prompts[question.task].replace(QUESTION, question.text)
            prompt = self._ids(words + self.after_question)
            answer = self._ids(answer_to(question, scene))
            length = len(prompt) + len(answer)
            ids += prompt + answer
            labels += [IGNORE] * (len(prompt) - 1) + answer + self.end
            segments += [number] * length
            positions.append(_count(resume + after, length, axes))
            rests_on = torch.zeros(length, n_shown, dtype=torch.bool)
            if question.spelled:
                places = torch.tensor(spelled_by(page, question)) + len(scene.things)
                rests_on[torch.arange(len(prompt) - 1, length - 1), places] = True
            else:
                rests_on[len(prompt) - 1 : -1, list(question.targets)] = True
            about.append(rests_on)
        return Packed(
            input_ids=torch.tensor(ids),
            position_ids=torch.cat(positions, 1),
            labels=torch.tensor(labels),
            segments=torch.tensor(segments),
            about=torch.cat(about),
            shown=shown,
            cells=cells,
            characters=characters,
            pictures=picture.inputs,
        )

    def collate(self, items: Sequence[Packed]) -> Batch:
        """Right-padded batch; no loss looks at the padding."""
        segments = pad_sequence([item.segments for item in items], True, PADDING)
        pointers = torch.zeros(*segments.shape, segments.shape[1], dtype=torch.bool)
        start = len(self.before_image)
        for pointer, item in zip(pointers, items, strict=True):
            (size, _), (n_cells, _) = item.about.shape, item.shown.shape
            hits = item.about.float() @ item.shown.float().T > 0
            pointer[:size, start : start + n_cells] = hits
        positions = pad_sequence([item.position_ids.T for item in items], True)
        positions = positions.permute(2, 0, 1).contiguous()
        return Batch(
            input_ids=pad_sequence([item.input_ids for item in items], True),
            position_ids=positions if len(positions) > 1 else positions[0],
            attention_mask=block_causal(segments),
            labels=pad_sequence([item.labels for item in items], True, IGNORE),
            pictures={
                name: torch.cat([item.pictures[name] for item in items])
                for name in items[0].pictures
            },
            pointers=pointers,
            cells=torch.cat([item.cells for item in items]),
            characters=torch.cat([item.characters for item in items]),
        )


def spelled_by(page: Page, question: Question) -> list[int]:
    """Which of the page's characters each token of the answer is."""
    starts = accumulate((len(writing.text) for writing in page.writings), initial=0)
    ranges = [range(s, s + len(w.text)) for s, w in zip(starts, page.writings, strict=False)]
    return [place for index in question.spelled for place in ranges[index]]


def block_causal(segments: Tensor) -> Tensor:
    """Additive mask float [B, 1, S, S] for segments long [B, S].

    Causal, and a question sees the image and itself but no other question.
    """
    queries, keys = segments[:, :, None], segments[:, None, :]
    causal = torch.ones(segments.shape[1], segments.shape[1], dtype=torch.bool).tril()
    visible = causal & ((keys == 0) | (keys == queries))
    return torch.zeros(visible.shape).masked_fill(~visible, torch.finfo(torch.float32).min)[:, None]


def _count(start: int, length: int, axes: int) -> Tensor:
    """Text positions `start`, `start + 1`, ... on all axes, long [axes, length]."""
    return torch.arange(start, start + length).expand(axes, -1)
