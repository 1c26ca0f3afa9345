"""What every training of the tiny model shares: optimiser, schedule and validation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor
from torch.nn import functional as F

from ..data.sample import Sample
from .cells import IGNORE
from .probe import soft_bins
from .validation import answer, scores_by_benchmark
from .vocabulary import COORDINATES


class Training(LightningModule):
    """Optimises a model and validates it by `generate`; subclasses compute the loss.

    Args:
        model, processor: as an `Architecture` makes them.
        prompts: template with `{question}` for each task.
        steps: optimiser steps of the whole training.
        lr: peak of the learning rate.
        warmup: steps over which the learning rate rises linearly to its peak.
        decay: share of the steps, at the end, over which it falls to 0 as a cosine.
        weight_decay: of AdamW.
    """

    targets: Tensor

    def __init__(
        self,
        model: Any,
        processor: Any,
        prompts: Mapping[str, str],
        *,
        steps: int,
        lr: float,
        warmup: int,
        decay: float,
        weight_decay: float,
    ) -> None:
        super().__init__()
        self.model = model
        self.processor = processor
        self.prompts = prompts
        self.steps = steps
        self.lr = lr
        self.warmup = warmup
        self.decay = decay
        self.weight_decay = weight_decay
        first, *_, last = processor.tokenizer.convert_tokens_to_ids(list(COORDINATES))
        targets = torch.eye(model.config.text_config.vocab_size)
        targets[first : last + 1, first : last + 1] = soft_bins(len(COORDINATES))
        self.register_buffer("targets", targets, persistent=False)

    def as_validated(self) -> AbstractContextManager[object]:
        """What surrounds the model while it is validated."""
        return nullcontext()

    def answer_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy where something is supervised; coordinates have soft labels.

        Args:
            logits: of the supervised positions alone, `[n, vocabulary]`.
            labels: long `[..., S]`, `IGNORE` at the n' - n positions that are not supervised.
        """
        return F.cross_entropy(logits.float(), self.targets[labels[labels != IGNORE]])

    def setup(self, stage: str) -> None:
        """Makes a model that came into this process as a pickled object whole again."""
        if self.trainer.world_size > 1:
            self.model = _constructed(self.model)

    def on_fit_start(self) -> None:
        if self.trainer.world_size > 1 and self.device.type == "cpu":
            torch.set_num_threads(1)  # the processes share the cores
        torch.set_flush_denormal(True)

    def teardown(self, stage: str) -> None:
        """The processor's mode is the whole process's: leave it as everything else expects it."""
        torch.set_flush_denormal(False)

    def validation_step(self, batch: list[Sample], batch_idx: int) -> None:
        with torch.autocast(self.device.type, enabled=False), self.as_validated():
            replies = answer(self.model, self.processor, batch, self.prompts)
        for name, scores in scores_by_benchmark(batch, replies).items():
            self.log(
                f"val/{name}",
                sum(scores) / len(scores),
                prog_bar=True,
                sync_dist=True,
                on_epoch=True,
                batch_size=len(scores),
            )

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(
            self.parameters(), lr=self.lr, betas=(0.9, 0.98), weight_decay=self.weight_decay
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._lr_factor)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def _lr_factor(self, step: int) -> float:
        """Learning rate relative to its peak: linear warm-up, constant, cosine to 0."""
        falling = (step / self.steps - (1 - self.decay)) / self.decay
        cosine = (1 + math.cos(math.pi * min(max(falling, 0.0), 1.0))) / 2
        return min(1.0, (step + 1) / self.warmup) * cosine


def _constructed(model: Any) -> Any:
    """A model with the same weights that ran through its constructor.

    transformers learns in the constructor which hidden states the models of a class can give out.
    A process that only unpickles one never learns it, and LLaVA's projector finds none to take.
    """
    made = type(model)(model.config)
    made.load_state_dict(model.state_dict())
    made.generation_config = model.generation_config
    for new, old in zip(made.parameters(), model.parameters(), strict=True):
        new.requires_grad_(old.requires_grad)
    return made.train(model.training)
