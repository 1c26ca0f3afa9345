"""Training with the selection on: the model learns to answer from what a policy leaves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..api import prune
from ..data.loops import ends_no_loop
from ..policy import PruningPolicy
from ..pruning.caches.names import given_cache, with_cache
from ..pruning.pruner import Pruner
from .base import Training
from .cells import IGNORE
from .turns import Turns


class PrunedTraining(Training):
    """Trains and validates under a pruning policy.

    A selection has no gradient: it is made anew in every step, by the weights as they are, and
    gradients flow through the tokens that it leaves. It must not see the answers, which are not
    there yet when the model is used: prompts are read first, then the answers on their caches, as
    `generate` does. A policy without stages makes the control that learns from all tokens.

    Args:
        policy: what is pruned, in training and in validation.
        options: of `Training`.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        prompts: Mapping[str, str],
        *,
        policy: PruningPolicy,
        **options: Any,
    ) -> None:
        super().__init__(model, processor, prompts, **options)
        self.policy = policy

    def as_validated(self) -> Pruner:
        return prune(self.model, self.policy)

    @ends_no_loop
    def training_step(self, batch: Turns, batch_idx: int) -> Tensor:
        logits = self.answer_logits(batch)
        loss = self.answer_loss(logits[batch.labels != IGNORE], batch.labels)
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def answer_logits(self, batch: Turns) -> Tensor:
        """What the model expects at each token of the answers, `[B, T, vocabulary]`."""
        known = batch.answers[:, :-1]  # nothing follows the last token
        mask = batch.prompts["attention_mask"]
        whole_mask = torch.cat([mask, torch.ones_like(known)], dim=1)
        positions = self._positions(batch, known, whole_mask)
        n_prompt = mask.shape[1]
        with prune(self.model, self.policy) as run:
            run.identify([f"{self.global_step}/{i}" for i in range(len(known))])
            prompt = self.model(
                **batch.prompts,
                position_ids=positions[..., :n_prompt],
                use_cache=True,
                logits_to_keep=1,
            )
            following = {
                "input_ids": known,
                "attention_mask": whole_mask,
                "position_ids": positions[..., n_prompt:],
                "use_cache": True,
            }
            answer = self.model(**with_cache(following, given_cache(prompt), self.model.forward))
        return torch.cat([prompt.logits, answer.logits], dim=1)

    def _positions(self, batch: Turns, known: Tensor, mask: Tensor) -> Tensor:
        """Positions of prompts and answers, long `[B, S]`, with M-RoPE `[3, B, S]`."""
        rope_index = getattr(self.model.model, "get_rope_index", None)
        if rope_index is None:
            return (mask.cumsum(1) - 1).clamp(min=0)
        prompts = batch.prompts
        kinds = prompts["mm_token_type_ids"]
        positions, _ = rope_index(
            input_ids=torch.cat([prompts["input_ids"], known], dim=1),
            mm_token_type_ids=torch.cat([kinds, torch.zeros_like(known)], dim=1),
            image_grid_thw=prompts["image_grid_thw"],
            attention_mask=mask,
        )
        return positions
