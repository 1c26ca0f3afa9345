"""Loss, schedule and validation of the tiny model."""

from __future__ import annotations

import math
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Qwen2_5_VLForConditionalGeneration

from ..data.sample import Sample
from ..models.processors import ImageTextProcessor
from .batches import CELL_CLASSES, IGNORE, Batch
from .evaluate import is_right, predict
from .tiny_model import COORDINATES

COORDINATE_SIGMA = 0.8
"""Standard deviation of the soft coordinate labels, in bins of 7 px."""


def soft_bins(bins: int) -> Tensor:
    """Row b is the label of coordinate bin b: a normalised Gaussian around it, float [bins, bins]."""
    offsets = torch.arange(bins)[:, None] - torch.arange(bins)
    return torch.softmax(-((offsets / COORDINATE_SIGMA) ** 2) / 2, dim=1)


class Probe(nn.Module):
    """Training-only heads that make an early layer name what each visual token shows.

    Without them the model sits on a plateau for a long time before it finds any object at all.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.cells = nn.Linear(width, sum(CELL_CLASSES))
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)

    def loss(self, hidden: Tensor, batch: Batch, is_visual: Tensor) -> Tensor:
        """Sum of the mean losses per kind: place, colour, shape, box and pointer.

        Args:
            hidden: float [B, S, width], output of a decoder layer.
            is_visual: bool [B, S].
        """
        hidden = self.norm(hidden)
        heads = self.cells(hidden[is_visual]).float().split(CELL_CLASSES, dim=1)
        losses = []
        for logits, label in zip(heads, batch.cells.unbind(1), strict=True):
            known = label != IGNORE
            target = soft_bins(len(COORDINATES))[label[known]] if len(losses) >= 4 else label[known]
            losses.append(F.cross_entropy(logits[known], target))
        place_and_kind, box = torch.stack(losses).split(4)
        return place_and_kind.sum() + box.mean() + self._pointer_loss(hidden, batch, is_visual)

    def _pointer_loss(self, hidden: Tensor, batch: Batch, is_visual: Tensor) -> Tensor:
        """Minus log of the attention that supervised positions pay to their things' tokens."""
        scores = self.query(hidden) @ self.key(hidden).mT / hidden.shape[-1] ** 0.5
        scores = scores.float().masked_fill(~is_visual[:, None], -torch.inf)
        pointing = batch.pointers.any(2)
        scores, target = scores[pointing], batch.pointers[pointing]
        on_target = scores.masked_fill(~target, -torch.inf)
        return (scores.logsumexp(1) - on_target.logsumexp(1)).mean()


class TinyModule(LightningModule):
    """Trains the model on packed batches and validates it by plain `generate`.

    Args:
        steps: optimiser steps of the whole training.
        decay: share of the steps at the end over which the learning rate falls to 0 as a cosine.
        probe_layer: 0-based decoder layer whose output the probe reads.
        probe_until: share of the steps after which the probe is switched off.
    """

    def __init__(
        self,
        model: Qwen2_5_VLForConditionalGeneration,
        processor: ImageTextProcessor,
        *,
        steps: int,
        lr: float,
        warmup: int,
        decay: float,
        weight_decay: float,
        probe_layer: int,
        probe_until: float,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(ignore=["model", "processor"])
        self.model = model
        self.processor = processor
        self.probe = Probe(model.config.text_config.hidden_size)
        targets = torch.eye(model.config.text_config.vocab_size)
        first = processor.tokenizer.convert_tokens_to_ids(COORDINATES[0])
        last = first + len(COORDINATES)
        targets[first:last, first:last] = soft_bins(len(COORDINATES))
        self.register_buffer("targets", targets, persistent=False)

    def on_fit_start(self) -> None:
        if self.device.type == "cpu" and self.trainer.world_size > 1:
            torch.set_num_threads(1)
        torch.set_flush_denormal(True)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        early: list[Tensor] = []
        layer = self.model.model.language_model.layers[self.hparams["probe_layer"]]
        hook = layer.register_forward_hook(lambda _module, _inputs, output: early.append(output))
        outputs = self.model.model(
            input_ids=batch.input_ids,
            attention_mask={"full_attention": batch.attention_mask},
            position_ids=batch.position_ids,
            pixel_values=batch.pixel_values,
            image_grid_thw=batch.image_grid_thw,
            use_cache=False,
        )
        hook.remove()
        supervised = batch.labels != IGNORE
        logits = self.model.lm_head(outputs.last_hidden_state[supervised])
        loss = F.cross_entropy(logits.float(), self.targets[batch.labels[supervised]])
        self.log("train/loss", loss, prog_bar=True)
        if self.global_step >= self.hparams["probe_until"] * self.hparams["steps"]:
            # Still part of the graph: DDP waits for the gradient of every parameter.
            return loss + 0.0 * sum(parameter.sum() for parameter in self.probe.parameters())
        is_visual = batch.input_ids == self.model.config.image_token_id
        probe_loss = self.probe.loss(early[0], batch, is_visual)
        self.log("train/probe", probe_loss, prog_bar=True)
        return loss + probe_loss

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Samples of the validation hold images, not tensors: they stay as they are."""
        if isinstance(batch, list):
            return batch
        return super().transfer_batch_to_device(batch, device, dataloader_idx)

    def validation_step(self, batch: list[Sample], batch_idx: int) -> None:
        with torch.autocast(self.device.type, enabled=False):
            answers = predict(self.model, self.processor, batch)
        for task in ("grounding", "vqa"):
            right = [
                is_right(sample, answer)
                for sample, answer in zip(batch, answers, strict=True)
                if sample.task == task
            ]
            value = sum(right) / max(len(right), 1)
            self.log(
                f"val/{task}",
                value,
                prog_bar=True,
                sync_dist=True,
                on_epoch=True,
                batch_size=max(len(right), 1),
            )

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(
            self.parameters(),
            lr=self.hparams["lr"],
            betas=(0.9, 0.98),
            weight_decay=self.hparams["weight_decay"],
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._factor)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def _factor(self, step: int) -> float:
        """Learning rate relative to its peak: linear warm-up, constant, cosine to 0."""
        steps, decay = self.hparams["steps"], self.hparams["decay"]
        falling = max(0.0, (step / steps - (1 - decay)) / decay)
        warm = min(1.0, (step + 1) / self.hparams["warmup"])
        return warm * (1 + math.cos(math.pi * min(falling, 1.0))) / 2
