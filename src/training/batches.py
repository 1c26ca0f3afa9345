"""Training batches: several questions about an image share one sequence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import IterableDataset

from ..data.scenes.drawing import draw
from ..data.scenes.questions import Question, ask, ground
from ..data.scenes.scene import BENCHMARK_LEVEL, BIN, COLOURS, SHAPES, TOKEN, Level
from ..data.scenes.scene import Scene, sample_scene
from ..models.processors import ImageTextProcessor

IGNORE = -100
"""Label of positions that no loss looks at."""
PROMPTS = {"grounding": "locate {question}", "vqa": "{question}"}
"""What the user says, by task."""
PATCH = TOKEN // 2
"""Side of a vision patch in pixels; a visual token merges 2 x 2 of them."""
PADDING = -1
"""Segment of padding; segment 0 is the image with the text before it, k the k-th question."""


class Batch(NamedTuple):
    """Tensors of B packed sequences of up to S tokens with M visual tokens in all.

    Attributes:
        input_ids: long [B, S].
        position_ids: long [3, B, S], M-RoPE positions (t, h, w); they restart for each question.
        attention_mask: float [B, 1, S, S], added to the attention scores.
        labels: long [B, S], the token that follows where it is supervised, else `IGNORE`.
        pixel_values: float [patches, channels * time * height * width].
        image_grid_thw: long [B, 3].
        pointers: bool [B, S, S], visual tokens that show what a supervised position is about.
        cells: long [M, 8], what a visual token shows: row, column, colour, shape and box
            `x1 y1 x2 y2` in bins of 7 px; box `IGNORE`, colour and shape "none" on background.
    """

    input_ids: Tensor
    position_ids: Tensor
    attention_mask: Tensor
    labels: Tensor
    pixel_values: Tensor
    image_grid_thw: Tensor
    pointers: Tensor
    cells: Tensor


CELL_CLASSES = (
    *(BENCHMARK_LEVEL.tokens[1],) * 2,
    len(COLOURS) + 1,
    len(SHAPES) + 1,
    *(BENCHMARK_LEVEL.tokens[1] * TOKEN // BIN + 1,) * 4,
)
"""Number of classes in each column of `Batch.cells`."""


class Packed(NamedTuple):
    """One image with its questions: the fields of `Batch` before padding, S tokens long.

    Attributes:
        segments: long [S], which question a token belongs to.
        about: bool [S, T], which of the scene's T things a supervised position is about.
        shown: bool [S, T], which thing a visual token shows.
    """

    input_ids: Tensor
    position_ids: Tensor
    labels: Tensor
    segments: Tensor
    about: Tensor
    shown: Tensor
    cells: Tensor
    image: Image


def block_causal(segments: Tensor) -> Tensor:
    """Additive mask float [B, 1, S, S] for segments long [B, S].

    Causal, and a question sees the image and itself but no other question.
    """
    queries, keys = segments[:, :, None], segments[:, None, :]
    causal = torch.ones(segments.shape[1], segments.shape[1], dtype=torch.bool).tril()
    visible = causal & ((keys == 0) | (keys == queries))
    return torch.zeros(visible.shape).masked_fill(~visible, torch.finfo(torch.float32).min)[:, None]


def describe_cells(scene: Scene) -> tuple[Tensor, Tensor]:
    """What each of the N visual tokens of a scene shows.

    Returns:
        `Batch.cells` long [N, 8], and bool [N, T]: the thing that covers most of the token, if
        that is at least a sixth of it.
    """
    rows, columns = np.indices((scene.height // TOKEN, scene.width // TOKEN)).reshape(2, -1)
    boxes = np.array([thing.box for thing in scene.things])
    overlap = 1
    for axis, start in ((0, columns * TOKEN), (1, rows * TOKEN)):
        low = np.maximum(start[:, None], boxes[:, axis])
        high = np.minimum(start[:, None] + TOKEN, boxes[:, axis + 2])
        overlap = overlap * np.maximum(high - low, 0)
    shown = (overlap == overlap.max(1, keepdims=True)) & (overlap * 6 >= TOKEN**2)
    things = np.array(
        [
            [COLOURS.index(t.colour), SHAPES.index(t.shape), *(edge // BIN for edge in t.box)]
            for t in scene.things
        ]
        + [[len(COLOURS), len(SHAPES), *(IGNORE,) * 4]]
    )
    index = np.where(shown.any(1), shown.argmax(1), len(scene.things))
    cells = np.concatenate([rows[:, None], columns[:, None], things[index]], 1)
    return torch.from_numpy(cells), torch.from_numpy(shown)


class Packer:
    """Turns an image and its questions into one sequence, and several of those into a batch."""

    def __init__(self, processor: ImageTextProcessor) -> None:
        self.processor = processor
        self._cached_ids: dict[str, list[int]] = {}
        message = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "|"}]}
        template = processor.apply_chat_template(
            [message], add_generation_prompt=True, tokenize=False
        )
        before, self.after_question = template.split("<|vision_end|>|")
        self.before_image = self._ids(before.removesuffix(processor.image_token))
        self.after_image = self._ids("<|vision_end|>")
        self.end = self._ids("<|im_end|>")

    def _ids(self, text: str) -> list[int]:
        if text not in self._cached_ids:
            self._cached_ids[text] = self.processor.tokenizer(text).input_ids
        return self._cached_ids[text]

    def pack(self, scene: Scene, image: Image, questions: Sequence[Question]) -> Packed:
        """The scene's image once, then each question with its answer."""
        cells, shown = describe_cells(scene)
        n_cells, n_things = shown.shape
        start = len(self.before_image)
        ids = [*self.before_image, *[self.processor.image_token_id] * n_cells, *self.after_image]
        prefix = len(ids)
        end_of_image = start + max(scene.width, scene.height) // TOKEN
        text = torch.tensor([*range(start), *[0] * n_cells, end_of_image])
        positions = text.expand(3, -1).clone()
        positions[0, start : start + n_cells] = start
        positions[1:, start : start + n_cells] = start + cells[:, :2].T

        labels, segments = [IGNORE] * prefix, [0] * prefix
        about, restarted = [torch.zeros(prefix, n_things, dtype=torch.bool)], [positions]
        for number, question in enumerate(questions, 1):
            words = PROMPTS[question.task].format(question=question.text)
            prompt, answer = self._ids(words + self.after_question), self._ids(question.answer)
            length = len(prompt) + len(answer)
            ids += prompt + answer
            labels += [IGNORE] * (len(prompt) - 1) + answer + self.end
            segments += [number] * length
            rests_on = torch.zeros(length, n_things, dtype=torch.bool)
            rests_on[len(prompt) - 1 : -1, list(question.targets)] = True
            about.append(rests_on)
            restarted.append(torch.arange(length).expand(3, -1) + end_of_image + 1)
        padded = torch.zeros(len(ids), n_things, dtype=torch.bool)
        padded[start : start + n_cells] = shown
        return Packed(
            torch.tensor(ids),
            torch.cat(restarted, 1),
            torch.tensor(labels),
            torch.tensor(segments),
            torch.cat(about),
            padded,
            cells,
            image,
        )

    def patches(self, image: Image) -> Tensor:
        """What the image processor makes of an image that needs no resizing, in a fifth of its time.

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

    def collate(self, items: Sequence[Packed]) -> Batch:
        """Right-padded batch; padding sees itself only, and no loss sees it."""
        segments = pad_sequence([item.segments for item in items], True, PADDING)
        length = segments.shape[1]
        pointers = torch.zeros(len(items), length, length, dtype=torch.bool)
        for pointer, item in zip(pointers, items, strict=True):
            size = len(item.segments)
            pointer[:size, :size] = item.about.float() @ item.shown.float().T > 0
        positions = pad_sequence([item.position_ids.T for item in items], True)
        return Batch(
            input_ids=pad_sequence([item.input_ids for item in items], True),
            position_ids=positions.permute(2, 0, 1).contiguous(),
            attention_mask=block_causal(segments),
            labels=pad_sequence([item.labels for item in items], True, IGNORE),
            pixel_values=torch.cat([self.patches(item.image) for item in items]),
            image_grid_thw=torch.tensor(
                [[1, item.image.height // PATCH, item.image.width // PATCH] for item in items]
            ),
            pointers=pointers,
            cells=torch.cat([item.cells for item in items]),
        )


@dataclass(frozen=True)
class Curriculum:
    """Levels with the share of training after which each one ends."""

    levels: tuple[tuple[float, Level], ...] = (
        (0.10, Level(tokens=(6, 8), things=(1, 3))),
        (0.25, Level(tokens=(6, 10), things=(2, 5))),
        (1.00, BENCHMARK_LEVEL),
    )

    def level(self, progress: float) -> Level:
        """The level at a share of training in [0, 1]."""
        return next((level for end, level in self.levels if progress < end), BENCHMARK_LEVEL)


class SceneStream(IterableDataset[Batch]):
    """Endless training batches, drawn as they are needed.

    Batch `step` of process `rank` depends on nothing but those two numbers and the seed, so that
    training continues from a checkpoint with the batches that it has not seen yet.
    """

    def __init__(
        self, packer: Packer, *, batch_size: int, steps: int, seed: int, rank: int, start: int
    ) -> None:
        self.packer = packer
        self.batch_size = batch_size
        self.steps = steps
        self.seed = seed
        self.rank = rank
        self.start = start
        self.curriculum = Curriculum()

    def __iter__(self) -> Iterator[Batch]:
        step = self.start
        while True:
            rng = np.random.default_rng([self.seed, self.rank, step])
            level = self.curriculum.level(step / self.steps)
            yield self.packer.collate([self._packed(rng, level) for _ in range(self.batch_size)])
            step += 1

    def _packed(self, rng: np.random.Generator, level: Level) -> Packed:
        scene = sample_scene(rng, "train", level)
        questions = [kind(rng, scene) for kind in (ground, ask) for _ in range(4)]
        return self.packer.pack(scene, draw(scene, rng), questions)
