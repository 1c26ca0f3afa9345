"""Signals of a running model: exact values and attention rows at the cost of a few rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from .models.base import Family
from .repack import Repack
from .tokens import AttentionLayer, TextSpan


@dataclass(frozen=True, eq=False)
class LayerInput:
    """What a decoder layer receives: hidden states `[B, S, E]` and rotary cos, sin `[B, S, D]`."""

    layer: nn.Module
    hidden: Tensor
    cos: Tensor
    sin: Tensor


@dataclass(frozen=True, eq=False)
class TextTokens:
    """Where the text of the current sequence is.

    Attributes:
        all: every text token, bool `[B, S]`.
        after_image: those after the sample's last visual token, bool `[B, S]`.
        n_all, n_after: their numbers per sample, as Python ints.
    """

    all: Tensor
    after_image: Tensor
    n_all: list[int]
    n_after: list[int]

    def repacked(self, repack: Repack) -> TextTokens:
        """The same text in the sequence after a stage."""
        return replace(
            self, all=repack.take_mask(self.all), after_image=repack.take_mask(self.after_image)
        )

    def slots(self, span: TextSpan) -> tuple[Tensor, Tensor]:
        """See `tokens.Signals.text_slots`."""
        mask, counts = self.all, self.n_all
        if span == "after_image":
            counts = [after or n for after, n in zip(self.n_after, self.n_all, strict=True)]
            empty = torch.tensor([not after for after in self.n_after], device=mask.device)
            mask = torch.where(empty[:, None], self.all, self.after_image)
        width = max(counts, default=0)
        slots = (~mask).to(torch.uint8).argsort(dim=1, stable=True)[:, :width]
        return slots, mask.gather(1, slots)


@dataclass(frozen=True, eq=False)
class LiveSignals:
    """Signals at the entry of a decoder layer, read from the caches and inputs of its neighbours.

    Attributes:
        next: the layer about to run.
        previous: the layer that ran last, None at layer 0 or where no attention of it is needed.
        previous_layer, previous_cache: its module and its cache layer, None at layer 0.
        past: entries of earlier turns in that cache layer.
        valid: real tokens of the current sequence, bool `[B, S]`, or None for all.
    """

    family: Family
    next: LayerInput
    previous: LayerInput | None
    previous_layer: nn.Module | None
    previous_cache: Any
    past: int
    valid: Tensor | None
    text: TextTokens

    @cached_property
    def valid_mask(self) -> Tensor:
        if self.valid is not None:
            return self.valid
        hidden = self.next.hidden
        return torch.ones(hidden.shape[:2], dtype=torch.bool, device=hidden.device)

    def sequence_values(self) -> tuple[Tensor, Tensor]:
        if self.previous_layer is None:
            raise ValueError("values of the previous layer were asked for, but none has run")
        cache = self.previous_cache
        values = self.family.cached_values(self.previous_layer, cache.keys, cache.values)
        return values[:, :, self.past :].to(self.next.hidden.device), self.valid_mask

    def text_slots(self, span: TextSpan) -> tuple[Tensor, Tensor]:
        return self.text.slots(span)

    def attention(self, layer: AttentionLayer) -> Tensor:
        source = self.previous if layer == "previous" else self.next
        if source is None:
            raise ValueError("attention of the previous layer was asked for, but none has run")
        last = self._last_token()[:, None]
        batch = torch.arange(len(last), device=last.device)[:, None]
        cos, sin = (x.expand(len(last), -1, -1) for x in (source.cos, source.sin))
        query = self.family.queries(
            source.layer, source.hidden[batch, last], (cos[batch, last], sin[batch, last])
        )
        if layer == "previous":
            keys, past = self.previous_cache.keys, self.past
        else:
            keys, past = self.family.keys(source.layer, source.hidden, (cos, sin)), 0
        valid = nn.functional.pad(self.valid_mask, (past, 0), value=True)
        scaling: float = source.layer.self_attn.scaling  # type: ignore[union-attr, assignment]
        weights = attention_rows(query, keys, valid, scaling)
        return weights[:, :, past:].to(self.next.hidden.device)

    def _last_token(self) -> Tensor:
        """Slot of each sample's last real token, `[B]`."""
        mask = self.valid_mask
        return mask.shape[1] - 1 - mask.flip(1).to(torch.uint8).argmax(dim=1)


def attention_rows(queries: Tensor, keys: Tensor, valid: Tensor, scaling: float) -> Tensor:
    """Softmax rows over all keys, averaged over heads.

    Args:
        queries: rotated, `[B, H, Q, D]`; they may see every valid key (last tokens).
        keys: rotated, `[B, H_kv, K, D]`; never repeated for grouped queries.
        valid: bool `[B, K]`.
        scaling: of the attention module.

    Returns:
        float32 `[B, Q, K]`.
    """
    grouped = queries.unflatten(1, (keys.shape[1], -1)).float()
    logits = torch.einsum("bhgqd,bhkd->bhgqk", grouped, keys.to(queries.device).float()) * scaling
    hidden = ~valid.to(logits.device)[:, None, None, None, :]
    return logits.masked_fill(hidden, -torch.inf).softmax(dim=-1).mean(dim=(1, 2))
