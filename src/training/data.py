"""What the tiny model is trained and validated on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from lightning import LightningDataModule, Trainer
from PIL.Image import Image
from torch.utils.data import DataLoader, IterableDataset

from ..data.sample import Sample
from ..data.scenes import load_scenes
from ..data.scenes.drawing import draw
from ..data.scenes.pages import Page
from ..data.scenes.questions import Question
from ..data.scenes.scene import Level
from .lessons import Lessons


class BatchMaker(Protocol):
    """Makes training batches of images and their questions."""

    def pack(self, page: Page, image: Image, questions: Sequence[Question]) -> Any:
        """One image with its questions."""

    def collate(self, items: Sequence[Any]) -> Any:
        """A batch of such."""


class SceneStream(IterableDataset[Any]):
    """Endless training batches, drawn when they are needed.

    Batch `step` of process `rank` depends on nothing but these two numbers and the seed, so that
    training goes on from a checkpoint with the batches that it has not seen yet.

    Args:
        maker, lessons: what is made of which questions.
        batch_size: images per batch and process.
        steps: of the whole training; decides where the curriculum stands.
        start: the first step to draw.
    """

    def __init__(
        self,
        maker: BatchMaker,
        lessons: Lessons,
        *,
        batch_size: int,
        steps: int,
        seed: int,
        rank: int,
        start: int,
    ) -> None:
        self.maker = maker
        self.lessons = lessons
        self.batch_size = batch_size
        self.steps = steps
        self.seed = seed
        self.rank = rank
        self.start = start

    def __iter__(self) -> Iterator[Any]:
        step = self.start
        while True:
            rng = np.random.default_rng([self.seed, self.rank, step])
            level = self.lessons.level(step / self.steps)
            yield self.maker.collate([self._packed(rng, level) for _ in range(self.batch_size)])
            step += 1

    def _packed(self, rng: np.random.Generator, level: Level) -> Any:
        lesson = self.lessons.drawn(rng)
        page = lesson.page(rng, level)
        questions = [asked(rng, page) for asked in lesson.questions]
        return self.maker.pack(page, draw(page.scene, rng, page.writings), questions)


class TinyData(LightningDataModule):
    """The training stream and a fixed set of validation samples, each split over the processes.

    Args:
        maker, lessons: of the stream.
        batch_size: images per step of all processes together.
        cache_dir: where the validation samples are kept.
    """

    def __init__(
        self,
        maker: BatchMaker,
        lessons: Lessons,
        *,
        batch_size: int,
        steps: int,
        seed: int,
        validation_samples: int,
        cache_dir: Path,
    ) -> None:
        super().__init__()
        self.maker = maker
        self.lessons = lessons
        self.batch_size = batch_size
        self.steps = steps
        self.seed = seed
        self.validation_samples = validation_samples
        self.cache_dir = cache_dir

    def train_dataloader(self) -> DataLoader[Any]:
        trainer = self._attached()
        stream = SceneStream(
            self.maker,
            self.lessons,
            batch_size=self.batch_size // trainer.world_size,
            steps=self.steps,
            seed=self.seed,
            rank=trainer.global_rank,
            start=trainer.global_step,
        )
        return DataLoader(stream, batch_size=None)

    def val_dataloader(self) -> DataLoader[Any]:
        trainer = self._attached()
        samples: list[Sample] = []
        for content in self.lessons.contents:
            rows = load_scenes("validation", self.validation_samples, 0, self.cache_dir, content)
            # Contiguous: tasks alternate, and every process has to report on both of them.
            mine = rows.shard(trainer.world_size, trainer.global_rank, contiguous=True)
            samples += map(Sample.from_row, mine)
        return DataLoader(samples, batch_size=50, collate_fn=list)  # type: ignore[arg-type]

    def transfer_batch_to_device(
        self, batch: Any, device: torch.device, dataloader_idx: int
    ) -> Any:
        """Validation samples hold PIL images: nothing to move, and Lightning refuses to look."""
        if isinstance(batch, list):
            return batch
        return super().transfer_batch_to_device(batch, device, dataloader_idx)

    def _attached(self) -> Trainer:
        if self.trainer is None:
            raise RuntimeError("TinyData needs a Trainer, which knows the process and the step")
        return self.trainer
