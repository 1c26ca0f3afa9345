"""How much attention sets of visual tokens draw, layer by layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..policy import PruningPolicy, Stage
from ..selectors import Selector, signals_of
from ..selectors.base import mask_of
from ..tokens.signals import Signal
from ..tokens.visual import VisualTokens

ASKING = ("last", "question")
"""The last prompt token, and the mean over the text after the image."""


@dataclass(frozen=True)
class Mass:
    """Attention that one set of tokens draws in one sample.

    Attributes:
        layer: 0-based decoder layer.
        asking: "last" or "question".
        tokens: name of the set.
        size: share of the visual tokens that are in it.
        mass: share of the attention to ALL keys that goes to it.
        visual: share of the attention to all keys that goes to any visual token.
    """

    layer: int
    asking: str
    tokens: str
    size: float
    mass: float
    visual: float

    @property
    def density(self) -> float:
        """Attention per token, relative to the average visual token of the sample."""
        return self.mass / self.visual / self.size if self.visual and self.size else 0.0


@dataclass(frozen=True, eq=False)
class AttentionProbe(Selector):
    """Keeps every token, and notes what the sets draw in the layer about to run.

    Attributes:
        layer: the layer that it is a stage of.
        sets: by name.
        found: where the notes go.
    """

    layer: int
    sets: Mapping[str, Selector]
    found: list[Mass] = field(default_factory=list)

    needs = frozenset({Signal.ATTENTION_NEXT})

    def select(self, tokens: VisualTokens) -> Tensor:
        members = {name: mask_of(s, tokens) & tokens.valid for name, s in self.sets.items()}
        for asking in ASKING:
            rows = self._rows(tokens, asking).masked_fill(~tokens.valid, 0.0)
            for name, member in members.items():
                self._note(tokens, asking, name, rows, member)
        return tokens.valid

    def _rows(self, tokens: VisualTokens, asking: str) -> Tensor:
        """Attention to each visual token, `[R, N]`."""
        if asking == "last":
            return tokens.attention("last", layer="next")[:, 0]
        queries = tokens.text()
        rows = tokens.attention(queries, layer="next")
        n_asking = queries.mask.sum(dim=1)[tokens.sample].clamp(min=1)
        return rows.sum(dim=1) / n_asking[:, None].to(rows.device)

    def _note(
        self, tokens: VisualTokens, asking: str, name: str, rows: Tensor, member: Tensor
    ) -> None:
        in_set = torch.stack([rows, rows * member, member.float(), tokens.valid.float()]).sum(-1)
        n_samples = int(tokens.sample.max()) + 1
        totals = rows.new_zeros(4, n_samples).index_add_(1, tokens.sample, in_set)
        for visual, mass, size, count in totals.T.tolist():
            if count:  # a sample without any picture in the batch says nothing
                self.found.append(Mass(self.layer, asking, name, size / count, mass, visual))


def probing_policy(
    sets: Mapping[str, Selector], layers: Iterable[int]
) -> tuple[PruningPolicy, list[Mass]]:
    """A policy that keeps everything and notes the attention in these layers, and the notes.

    Raises:
        ValueError: a set needs signals that layer 0 cannot have.
    """
    found: list[Mass] = []
    stages = {}
    for layer in layers:
        stages[f"layer_{layer}"] = Stage(layer, AttentionProbe(layer, sets, found))
    return PruningPolicy(stages, name="attention_probe"), found


def check_sets(sets: Mapping[str, Any]) -> None:
    """Raises unless every set is a selector that positions alone decide.

    Raises:
        TypeError, ValueError: naming the set.
    """
    for name, selector in sets.items():
        if not isinstance(selector, Selector):
            raise TypeError(f"job.sets.{name} is {selector!r}: it must be a selector")
        if needs := signals_of(selector):
            raise ValueError(
                f"job.sets.{name} needs {', '.join(sorted(needs))}: only sets that positions "
                "decide are the same in every layer"
            )
