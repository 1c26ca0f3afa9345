"""Training from scratch: packed batches, without selection, with training-only heads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ..data.loops import ends_no_loop
from .base import Training
from .cells import IGNORE
from .packing import Batch
from .probe import Probe


class PackedTraining(Training):
    """Trains on packed batches.

    Args:
        probe_layer: 0-based decoder layer whose output the probe reads.
        probe_until: share of the steps after which the probe is off.
        options: of `Training`.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        prompts: Mapping[str, str],
        *,
        probe_layer: int,
        probe_until: float,
        **options: Any,
    ) -> None:
        super().__init__(model, processor, prompts, **options)
        self.probe_layer = probe_layer
        self.probe_until = probe_until
        self.probe = Probe(model.config.text_config.hidden_size)

    @ends_no_loop
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        final, early = self._hidden_states(batch)
        loss = self.answer_loss(self.model.lm_head(final[batch.labels != IGNORE]), batch.labels)
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
                attention_mask=batch.attention_mask,
                position_ids=batch.position_ids,
                use_cache=False,
                **batch.pictures,
            )
        finally:
            hook.remove()
        return outputs.last_hidden_state, early[0]
