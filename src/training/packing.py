"""Training batches: several questions about an image share one sequence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ..data.prompts import QUESTION
from ..data.scenes.questions import Question
from ..data.scenes.scene import TOKEN, Scene
from .cells import IGNORE, describe_cells

PADDING = -1
"""Segment of padding; segment 0 is the image with the text before it, k the k-th question."""
PATCH = TOKEN // 2
"""Side of a vision patch in pixels; a visual token merges 2 x 2 of them."""


class Batch(NamedTuple):
    """Tensors of B packed sequences of up to S tokens, with M visual tokens in all.

    Attributes:
        input_ids: long [B, S].
        position_ids: long [3, B, S], M-RoPE positions (t, h, w); they restart for each question.
        attention_mask: float [B, 1, S, S], added to the attention scores.
        labels: long [B, S], the token that follows where it is supervised, else `IGNORE`.
        pixel_values: float [patches, channels * time * height * width].
        image_grid_thw: long [B, 3].
        pointers: bool [B, S, S], visual tokens that show what a supervised position is about.
        cells: long [M, 8], what a visual token shows: row, column, colour, shape and the box
            `x1 y1 x2 y2` in bins of 7 px; background has colour and shape "none", box `IGNORE`.
    """

    input_ids: Tensor
    position_ids: Tensor
    attention_mask: Tensor
    labels: Tensor
    pixel_values: Tensor
    image_grid_thw: Tensor
    pointers: Tensor
    cells: Tensor


class Packed(NamedTuple):
    """One image with its questions, S tokens long: the fields of `Batch` before padding.

    Attributes:
        segments: long [S], which question a token belongs to.
        about: bool [S, T], which of the scene's T things a supervised position is about.
        shown: bool [N, T], which thing each of the N visual tokens shows.
    """

    input_ids: Tensor
    position_ids: Tensor
    labels: Tensor
    segments: Tensor
    about: Tensor
    shown: Tensor
    cells: Tensor
    image: Image


class Packer:
    """Turns an image and its questions into one sequence, and several of those into a batch.

    Args:
        processor: of the model; its chat template surrounds every question.
        prompts: template with `{question}` for each task.
    """

    def __init__(self, processor: Any, prompts: Mapping[str, str]) -> None:
        self.processor = processor
        self.prompts = prompts
        self._known_ids: dict[str, list[int]] = {}
        content = [{"type": "image"}, {"type": "text", "text": QUESTION}]
        turn = processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        before, _, self.after_question = turn.partition(QUESTION)
        before_image, _, after_image = before.partition(processor.image_token)
        self.before_image = self._ids(before_image)
        self.after_image = self._ids(after_image)
        self.end = [processor.tokenizer.eos_token_id]

    def _ids(self, text: str) -> list[int]:
        # Questions recur: remembering their tokens saves two thirds of the time that packing takes.
        if text not in self._known_ids:
            self._known_ids[text] = self.processor.tokenizer(text).input_ids
        return self._known_ids[text]

    def pack(self, scene: Scene, image: Image, questions: Sequence[Question]) -> Packed:
        """The scene's image once, then each question with its answer."""
        cells, shown = describe_cells(scene)
        n_cells, n_things = shown.shape
        start, after = len(self.before_image), len(self.after_image)
        resume = start + max(scene.width, scene.height) // TOKEN
        visual = torch.cat([torch.zeros(1, n_cells, dtype=torch.long), cells[:, :2].T]) + start
        positions = [_count(0, start), visual, _count(resume, after)]
        ids = [*self.before_image, *[self.processor.image_token_id] * n_cells, *self.after_image]
        head = len(ids)
        labels, segments = [IGNORE] * head, [0] * head
        about = [torch.zeros(head, n_things, dtype=torch.bool)]
        for number, question in enumerate(questions, 1):
            words = self.prompts[question.task].replace(QUESTION, question.text)
            prompt, answer = self._ids(words + self.after_question), self._ids(question.answer)
            length = len(prompt) + len(answer)
            ids += prompt + answer
            labels += [IGNORE] * (len(prompt) - 1) + answer + self.end
            segments += [number] * length
            positions.append(_count(resume + after, length))
            rests_on = torch.zeros(length, n_things, dtype=torch.bool)
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
            image=image,
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
        grids = [[1, i.image.height // PATCH, i.image.width // PATCH] for i in items]
        return Batch(
            input_ids=pad_sequence([item.input_ids for item in items], True),
            position_ids=positions.permute(2, 0, 1).contiguous(),
            attention_mask=block_causal(segments),
            labels=pad_sequence([item.labels for item in items], True, IGNORE),
            pixel_values=torch.cat([self.patches(item.image) for item in items]),
            image_grid_thw=torch.tensor(grids),
            pointers=pointers,
            cells=torch.cat([item.cells for item in items]),
        )

    def patches(self, image: Image) -> Tensor:
        """What the image processor makes of an image of allowed size, in a third of its time.

        Returns:
            float [patches, 3 * 2 * 14 * 14]; the four patches of a visual token are neighbours.
        """
        settings = self.processor.image_processor
        mean, std = (
            torch.tensor(values)[:, None, None] * 255
            for values in (settings.image_mean, settings.image_std)
        )
        rows, columns = image.height // TOKEN, image.width // TOKEN
        pixels = torch.from_numpy(np.array(image)).view(rows, 2, PATCH, columns, 2, PATCH, 3)
        # -> row, column, patch row, patch column, channel, pixel row, pixel column
        pixels = (pixels.permute(0, 3, 1, 4, 6, 2, 5).float() - mean) / std
        # A still image is two equal frames.
        return torch.stack([pixels, pixels], 5).view(rows * columns * 4, -1)


def block_causal(segments: Tensor) -> Tensor:
    """Additive mask float [B, 1, S, S] for segments long [B, S].

    Causal, and a question sees the image and itself but no other question.
    """
    queries, keys = segments[:, :, None], segments[:, None, :]
    causal = torch.ones(segments.shape[1], segments.shape[1], dtype=torch.bool).tril()
    visible = causal & ((keys == 0) | (keys == queries))
    return torch.zeros(visible.shape).masked_fill(~visible, torch.finfo(torch.float32).min)[:, None]


def _count(start: int, length: int) -> Tensor:
    """Text positions `start`, `start + 1`, ... on all three axes, long [3, length]."""
    return torch.arange(start, start + length).expand(3, -1)
