"""Signals from tensors instead of a running model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from ..pruning.live_signals import RATERS, InputSignals
from ..pruning.sequence.slots import TextTokens
from ..tokens.attention import AttentionInputs, Queries
from ..tokens.signals import AttentionLayer, TextSpan, VisionDepth, VisionQueries

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class RecordedSignals:
    """See `tokens.Signals`. Asking for what is None, because it was not recorded, is an error.

    Attributes:
        values: value vectors `[B, H_kv, S, D]`.
        coming: those of the layer about to run, of the same shape.
        text: where the text is.
        valid: real tokens of the sequence, bool `[B, S]`.
        queries: `[B, 2, 2, H, S, D]`; the second axis is the layer that ran last or the one about
            to run, the third is unrotated or rotated.
        keys: `[B, 2, 2, H_kv, S, D]`, in the same order.
        states: inputs of the layer about to run, `[B, S, E]`.
        input: embeddings, and what follows from them.
        tower: outputs of the vision tower, `[B, M, E_vision]`.
        tower_attention: `[B, 2, 2, M]`; the second axis is the class token or the mean over all
            patches, the third is early or late.
        tower_keys: `[B, 2, 2, H, M, D]`; the second axis is early or late, the third unrotated or
            rotated.
    """

    values: Tensor
    text: TextTokens
    valid: Tensor
    coming: Tensor | None = None
    queries: Tensor | None = None
    keys: Tensor | None = None
    states: Tensor | None = None
    input: InputSignals | None = None
    tower: Tensor | None = None
    tower_attention: Tensor | None = None
    tower_keys: Tensor | None = None

    def sequence_values(self) -> tuple[Tensor, Tensor]:
        return self.values, self.valid

    def next_values(self) -> Tensor:
        return _recorded(self.coming, "values of the layer about to run")

    def sequence_keys(self, rope: bool) -> Tensor:
        return _recorded(self.keys, "keys")[:, 0, int(rope)]

    def text_slots(self, span: TextSpan) -> tuple[Tensor, Tensor]:
        return self.text.slots(span)

    def text_places(self, span: TextSpan) -> tuple[Tensor, Tensor]:
        return _recorded(self.input, "embeddings").text.slots(span)

    def positions(self) -> Tensor:
        return _recorded(self.input, "positions").positions

    def text_counts(self) -> list[int]:
        return self.text.counts["all"]

    def last_token(self) -> Queries:
        last = torch.full_like(self.valid[:, :1], self.valid.shape[1] - 1, dtype=torch.long)
        return Queries(last, torch.ones_like(last, dtype=torch.bool))

    def raters(self) -> Queries:
        slots, mask = self.text.slots(RATERS)
        return Queries(slots, mask & _recorded(self.input, "embeddings").rates)

    def attention_inputs(
        self, queries: Queries, layer: AttentionLayer, rope: bool
    ) -> AttentionInputs:
        place = (slice(None), int(layer == "next"), int(rope))
        all_queries, keys = (_recorded(x, "attention")[place] for x in (self.queries, self.keys))
        batch = torch.arange(len(keys))[:, None]
        asking = all_queries[batch, :, queries.slots].transpose(1, 2)
        return AttentionInputs(asking, keys, queries, self.valid, 0, keys.shape[-1] ** -0.5)

    def hidden(self) -> Tensor:
        return _recorded(self.states, "hidden states")

    def final_norm(self, states: Tensor) -> Tensor:
        return _recorded(self.input, "final norm").norm(states)

    def embeddings(self) -> Tensor:
        return _recorded(_recorded(self.input, "embeddings").embeddings, "embeddings")

    def features(self) -> Tensor:
        return _recorded(self.tower, "features")

    def vision_attention(self, queries: VisionQueries, depth: VisionDepth) -> Tensor:
        received = _recorded(self.tower_attention, "vision attention")
        return received[:, int(queries == "mean"), int(depth == "late")]

    def vision_keys(self, depth: VisionDepth, rope: bool) -> Tensor:
        keys = _recorded(self.tower_keys, "keys of the vision tower")
        return keys[:, int(depth == "late"), int(rope)].transpose(1, 2)


def _recorded(what: T | None, name: str) -> T:
    if what is None:
        raise ValueError(f"the recording holds no {name}")
    return what
