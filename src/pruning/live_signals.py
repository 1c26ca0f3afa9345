"""Signals of a running model: exact values and attention rows at the cost of a few rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import torch
from torch import Tensor, nn

from ..models.base import Family, device_of
from ..models.rotary import Rotary, each_rotary
from ..tokens.attention import AttentionInputs, Queries
from ..tokens.chunks import chunks
from ..tokens.signals import AttentionLayer, TextSpan, VisionDepth, VisionQueries
from ..tokens.visual import VisualTokens
from .offloaded import weights_at_hand
from .sequence.slots import TextTokens
from .vision import VisionRecord

T = TypeVar("T")

RATERS: TextSpan = "following_image"
"""The text that may rate an image: all that sees it, as in SparseVLM's official code."""


@dataclass(frozen=True, eq=False)
class LayerInput:
    """What a decoder layer receives: hidden states `[B, S, E]`, and its rotary embedding."""

    layer: nn.Module
    hidden: Tensor
    rotary: Rotary

    def where_it_runs(self) -> LayerInput:
        """The same on the layer's own device."""
        device = device_of(self.layer, self.hidden.device)
        rotary = each_rotary(lambda x: x.to(device), self.rotary)
        return LayerInput(self.layer, self.hidden.to(device), rotary)


@dataclass(frozen=True, eq=False)
class LayerCache:
    """What a decoder layer has cached.

    Attributes:
        layer: the decoder layer.
        keys, values: as its cache holds them, `[B, H, past + S, D]`, or only the past; None where
            nothing is cached yet.
        past: entries of earlier turns.
        past_valid: real ones among these, bool `[B, past]`, or None for all.
    """

    layer: nn.Module
    keys: Tensor | None
    values: Tensor | None
    past: int
    past_valid: Tensor | None

    def stored(self) -> tuple[Tensor, Tensor]:
        """Keys and values, where there must be some."""
        if self.keys is None or self.values is None:
            raise ValueError("a layer that should have run has cached nothing")
        return self.keys, self.values


@dataclass(frozen=True, eq=False)
class InputSignals:
    """What stays the same for all stages of a prefill: the input of the language model.

    Attributes:
        embeddings: `[B, S, E]`, or None where no stage asks for them.
        text: the text of the input.
        visual: the visual tokens of the input.
        vision: what the vision tower did, or None where no stage asks for it.
        positions: position ids on each rotary axis, long `[A, B, S]`.
        norm: the norm that ends the language model, of states `[..., E]`.
    """

    embeddings: Tensor | None
    text: TextTokens
    visual: VisualTokens
    vision: VisionRecord | None
    positions: Tensor
    norm: Callable[[Tensor], Tensor]

    @cached_property
    def rates(self) -> Tensor:
        """Which text tokens behind the image are raters, bool `[B, L]`; see `VisualTokens.raters`.

        Where the similarities are all alike, all of them are.
        """
        assert self.embeddings is not None
        slots, mask = self.text.slots(RATERS)
        rows = torch.arange(len(slots), device=slots.device)[:, None]
        text = self.embeddings[rows, slots].float().transpose(1, 2)
        tokens = self.visual.regroup("sample")
        received = text.new_zeros(len(slots), slots.shape[1])
        for some in chunks(tokens.shape[1], text.shape[2] * len(tokens.rows)):
            visual = self.embeddings[tokens.sample[:, None], tokens.index[:, some]].float()
            logits = visual @ text[tokens.sample]
            hidden = ~mask[tokens.sample][:, None]
            weights = logits.masked_fill(hidden, -torch.inf).softmax(dim=-1).nan_to_num(0.0)
            counted = weights * tokens.valid[:, some, None]
            received.index_add_(0, tokens.sample, counted.sum(dim=1))
        mean = received.sum(dim=1, keepdim=True) / mask.sum(dim=1, keepdim=True).clamp(min=1)
        above = (received > mean) & mask
        return torch.where(above.any(dim=1, keepdim=True), above, mask)


@dataclass(frozen=True, eq=False)
class LiveSignals:
    """Signals at the entry of a decoder layer, read from the caches and inputs of its neighbours.

    Attributes:
        next: the layer about to run.
        next_cache: its cache, which holds earlier turns.
        previous: the layer that ran last, None at layer 0 or where no attention of it is needed.
        previous_cache: its cache, None at layer 0.
        valid: real tokens of the current sequence, bool `[B, S]`, or None for all.
        text: where the text of the current sequence is.
        input: what the prefill began with.
    """

    family: Family
    next: LayerInput
    next_cache: LayerCache
    previous: LayerInput | None
    previous_cache: LayerCache | None
    valid: Tensor | None
    text: TextTokens
    input: InputSignals

    @cached_property
    def valid_mask(self) -> Tensor:
        if self.valid is not None:
            return self.valid
        hidden = self.next.hidden
        return torch.ones(hidden.shape[:2], dtype=torch.bool, device=hidden.device)

    def next_values(self) -> Tensor:
        source = self.next.where_it_runs()
        with weights_at_hand(source.layer):
            values = self.family.values(source.layer, source.hidden)
        return values.to(self.next.hidden.device)

    def sequence_values(self) -> tuple[Tensor, Tensor]:
        cache = _ran(self.previous_cache, "values")
        with weights_at_hand(cache.layer):
            values = self.family.cached_values(cache.layer, *cache.stored())
        return values[:, :, cache.past :].to(self.next.hidden.device), self.valid_mask

    def sequence_keys(self, rope: bool) -> Tensor:
        cache = _ran(self.previous_cache, "keys")
        with weights_at_hand(cache.layer):
            if rope:
                keys = self.family.cached_keys(cache.layer, *cache.stored())[:, :, cache.past :]
            else:
                keys = self._unrotated_keys(_ran(self.previous, "keys").where_it_runs())
        return keys.to(self.next.hidden.device)

    def text_slots(self, span: TextSpan) -> tuple[Tensor, Tensor]:
        return self.text.slots(span)

    def text_places(self, span: TextSpan) -> tuple[Tensor, Tensor]:
        # the text keeps its order through all stages
        return self.input.text.slots(span)

    def positions(self) -> Tensor:
        return self.input.positions.to(self.next.hidden.device)

    def text_counts(self) -> list[int]:
        return self.text.counts["all"]

    def last_token(self) -> Queries:
        mask = self.valid_mask
        last = mask.shape[1] - 1 - mask.flip(1).to(torch.uint8).argmax(dim=1, keepdim=True)
        return Queries(last, torch.ones_like(last, dtype=torch.bool))

    def raters(self) -> Queries:
        slots, mask = self.text.slots(RATERS)
        # the text keeps its order through all stages
        return Queries(slots, mask & self.input.rates.to(mask.device))

    def attention_inputs(
        self, queries: Queries, layer: AttentionLayer, rope: bool
    ) -> AttentionInputs:
        source, cache = self.next, self.next_cache
        if layer == "previous":
            source = _ran(self.previous, "attention")
            cache = _ran(self.previous_cache, "attention")
        source = source.where_it_runs()
        with weights_at_hand(source.layer):
            asking = self._queries(source, queries, rope)
            keys = self._keys(source, cache, layer == "previous", rope)
        past = keys.shape[2] - self.next.hidden.shape[1]
        valid = self.valid_mask.to(keys.device)
        if past:
            earlier = cache.past_valid
            if earlier is None:
                earlier = valid.new_ones(len(valid), past)
            valid = torch.cat([earlier.to(keys.device), valid], dim=1)
        scaling: float = source.layer.self_attn.scaling  # type: ignore[union-attr, assignment]
        return AttentionInputs(asking, keys, queries, valid, past, scaling)

    def hidden(self) -> Tensor:
        return self.next.hidden

    def final_norm(self, states: Tensor) -> Tensor:
        return self.input.norm(states)

    def embeddings(self) -> Tensor:
        assert self.input.embeddings is not None
        return self.input.embeddings.to(self.next.hidden.device)

    def features(self) -> Tensor:
        return self._vision().features().to(self.next.hidden.device)

    def vision_attention(self, queries: VisionQueries, depth: VisionDepth) -> Tensor:
        received = self._vision().attention_received(queries, depth)
        return received.to(self.next.hidden.device)

    def vision_keys(self, depth: VisionDepth, rope: bool) -> Tensor:
        return self._vision().keys(depth, rope).to(self.next.hidden.device)

    # Parts -------------------------------------------------------------------------------------

    def _queries(self, source: LayerInput, queries: Queries, rope: bool) -> Tensor:
        slots = queries.slots.to(source.hidden.device)
        batch = torch.arange(len(slots), device=slots.device)[:, None]
        rotary = None
        if rope:
            rotary = each_rotary(lambda x: _whole_batch(x, len(slots))[batch, slots], source.rotary)
        return self.family.queries(source.layer, source.hidden[batch, slots], rotary)

    def _keys(self, source: LayerInput, cache: LayerCache, ran: bool, rope: bool) -> Tensor:
        """Keys of the earlier turns and of the current sequence, `[B, H_kv, past + S, D]`."""
        if not rope:
            return self._unrotated_keys(source)
        if ran:
            return self.family.cached_keys(cache.layer, *cache.stored())
        batch = len(source.hidden)
        rotary = each_rotary(lambda x: _whole_batch(x, batch), source.rotary)
        keys = self.family.keys(source.layer, source.hidden, rotary)
        if not cache.past:
            return keys
        earlier = self.family.cached_keys(cache.layer, *cache.stored())
        return torch.cat([earlier[:, :, : cache.past].to(keys.device), keys], dim=2)

    def _unrotated_keys(self, source: LayerInput) -> Tensor:
        """Only of the current sequence: what earlier turns have cached is rotated."""
        return self.family.keys(source.layer, source.hidden, None)

    def _vision(self) -> VisionRecord:
        if self.input.vision is None:
            raise ValueError(
                "signals of the vision tower were asked for, but it has not run for this prefill: "
                "pass the images with the prompt, not ready-made embeddings"
            )
        return self.input.vision


def _ran(what: T | None, name: str) -> T:
    if what is None:
        raise ValueError(f"{name} of the previous layer was asked for, but none has run")
    return what


def _whole_batch(x: Tensor, batch: int) -> Tensor:
    """`[B, S, D]` of a tensor that may be the same for all samples, `[1, S, D]`."""
    return x.expand(batch, *x.shape[1:])
