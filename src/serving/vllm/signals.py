"""Signals of a picture in its question, after a scout pass."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...pruning.live_signals import RATERS, InputSignals
from ...pruning.sequence.slots import TextTokens
from ...tokens.attention import AttentionInputs, Queries
from ...tokens.signals import AttentionLayer, TextSpan, VisionDepth, VisionQueries
from .scout import Projections, Scouted


@dataclass(frozen=True, eq=False)
class ScoutSignals:
    """See `tokens.Signals`; one sample of S tokens, none of them padding."""

    scouted: Scouted
    text: TextTokens
    input: InputSignals

    @property
    def _valid(self) -> Tensor:
        hidden = self.scouted.hidden
        return torch.ones(1, len(hidden), dtype=torch.bool, device=hidden.device)

    def _layer(self, which: AttentionLayer) -> Projections:
        if which == "next":
            return self.scouted.following
        if self.scouted.previous is None:  # the plan has refused it: a stage at layer 0 has none
            raise ValueError("signals of a previous layer were asked for, but none has run")
        return self.scouted.previous

    def sequence_values(self) -> tuple[Tensor, Tensor]:
        return self._layer("previous").values, self._valid

    def next_values(self) -> Tensor:
        return self._layer("next").values

    def sequence_keys(self, rope: bool) -> Tensor:
        source = self._layer("previous")
        return source.rotated_keys if rope else source.keys

    def text_slots(self, span: TextSpan) -> tuple[Tensor, Tensor]:
        return self.text.slots(span)

    def text_places(self, span: TextSpan) -> tuple[Tensor, Tensor]:
        return self.text.slots(span)  # nothing has left the sequence

    def positions(self) -> Tensor:
        return self.input.positions

    def text_counts(self) -> list[int]:
        return self.text.counts["all"]

    def last_token(self) -> Queries:
        last = torch.full_like(self._valid[:, :1], len(self.scouted.hidden) - 1, dtype=torch.long)
        return Queries(last, torch.ones_like(last, dtype=torch.bool))

    def raters(self) -> Queries:
        slots, mask = self.text.slots(RATERS)
        return Queries(slots, mask & self.input.rates)

    def attention_inputs(
        self, queries: Queries, layer: AttentionLayer, rope: bool
    ) -> AttentionInputs:
        source = self._layer(layer)
        asking = source.rotated_queries if rope else source.queries
        keys = source.rotated_keys if rope else source.keys
        return AttentionInputs(
            asking[:, :, queries.slots[0]], keys, queries, self._valid, 0, source.scaling
        )

    def hidden(self) -> Tensor:
        return self.scouted.hidden[None]

    def final_norm(self, states: Tensor) -> Tensor:
        return self.input.norm(states)

    def embeddings(self) -> Tensor:
        assert self.input.embeddings is not None
        return self.input.embeddings

    def features(self) -> Tensor:
        raise ValueError("features of the vision tower were asked for: an engine gives none")

    def vision_attention(self, queries: VisionQueries, depth: VisionDepth) -> Tensor:
        raise ValueError("attention of the vision tower was asked for: an engine gives none")

    def vision_keys(self, depth: VisionDepth, rope: bool) -> Tensor:
        raise ValueError("keys of the vision tower were asked for: an engine gives none")


def no_norm(states: Tensor) -> Tensor:
    """The norm behind the decoder's last layer, which a scout pass does not reach."""
    raise ValueError(
        "states behind the final norm were asked for: an engine gives none; choose a selector that "
        "does without, for example ivc_prune"
    )
