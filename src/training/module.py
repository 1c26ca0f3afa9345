"""Loss, schedule and validation of the tiny model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor
from torch.nn import functional as F

from ..data.sample import Sample
from .cells import IGNORE
from .packing import Batch
from .probe import Probe, soft_bins
from .tiny_model import COORDINATES
from .validation import answer, scores_by_task


class TinyModule(LightningModule):
    """Trains on packed batches and validates by plain `generate`.

    Args:
        model, processor: as `build_model` and `build_processor` make them.
        prompts: template with `{question}` for each task.
        steps: optimiser steps of the whole training.
        lr: peak of the learning rate.
        warmup: steps over which the learning rate rises linearly to its peak.
        decay: share of the steps, at the end, over which it falls to 0 as a cosine.
        weight_decay: of AdamW.
        probe_layer: 0-based decoder layer whose output the probe reads.
        probe_until: share of the steps after which the probe is off.
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
        probe_layer: int,
        probe_until: float,
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
        self.probe_layer = probe_layer
        self.probe_until = probe_until
        self.probe = Probe(model.config.text_config.hidden_size)
        first, *_, last = processor.tokenizer.convert_tokens_to_ids(list(COORDINATES))
        targets = torch.eye(model.config.text_config.vocab_size)
        targets[first : last + 1, first : last + 1] = soft_bins(len(COORDINATES))
        self.register_buffer("targets", targets, persistent=False)

    def on_fit_start(self) -> None:
        if self.trainer.world_size > 1 and self.device.type == "cpu":
            torch.set_num_threads(1)  # the processes share the cores
        torch.set_flush_denormal(True)

    def teardown(self, stage: str) -> None:
        """The processor's mode is the whole process's: leave it as everything else expects it."""
        torch.set_flush_denormal(False)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        final, early = self._hidden_states(batch)
        supervised = batch.labels != IGNORE
        logits = self.model.lm_head(final[supervised]).float()
        loss = F.cross_entropy(logits, self.targets[batch.labels[supervised]])
        self.log("train/loss", loss, prog_bar=True)
        if self.global_step >= self.probe_until * self.steps:
            # Still part of the graph: DDP waits for a gradient of every parameter.
            return loss + 0.0 * sum(parameter.sum() for parameter in self.probe.parameters())
        is_visual = batch.input_ids == self.model.config.image_token_id
        probe_loss = self.probe.loss(early, batch, is_visual)
        self.log("train/probe", probe_loss, prog_bar=True)
        return loss + probe_loss

    def _hidden_states(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Outputs float [B, S, width] of the text model and of the probe's layer."""
        early: list[Tensor] = []
        layer = self.model.model.language_model.layers[self.probe_layer]
        hook = layer.register_forward_hook(lambda _module, _inputs, output: early.append(output))
        try:
            outputs = self.model.model(
                input_ids=batch.input_ids,
                attention_mask={"full_attention": batch.attention_mask},
                position_ids=batch.position_ids,
                pixel_values=batch.pixel_values,
                image_grid_thw=batch.image_grid_thw,
                use_cache=False,
            )
        finally:
            hook.remove()
        return outputs.last_hidden_state, early[0]

    def validation_step(self, batch: list[Sample], batch_idx: int) -> None:
        with torch.autocast(self.device.type, enabled=False):
            answers = answer(self.model, self.processor, batch, self.prompts)
        for task, scores in scores_by_task(batch, answers).items():
            self.log(
                f"val/{task}",
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
