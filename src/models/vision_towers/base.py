"""What the core must know about a vision tower; one file a kind of tower implements it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from ...tokens.signals import VisionDepth
from .places import Layout
from .received import Received

Grid = tuple[int, int]
"""Rows and columns of a picture's patches."""


@dataclass(frozen=True, eq=False)
class AttentionInput:
    """What an attention layer of the tower receives: normalised hidden states, and the rest."""

    hidden: Tensor
    arguments: Mapping[str, Any]


@dataclass(eq=False)
class TowerCall:
    """What is kept of one call of the tower until a selector asks.

    Attributes:
        grids: of the pictures (images, tiles or frames) that it encoded, in input order.
        projected: what the projector received, or None where nobody asks for features.
        attention: what the attention layers received that somebody asks about.
    """

    grids: list[Grid]
    projected: Tensor | None = None
    attention: dict[VisionDepth, AttentionInput] = field(default_factory=dict)


class VisionTower(ABC):
    """Where a tower's layers are, and how its patches become visual tokens.

    T: the visual tokens of all pictures of a call, picture after picture, in input order.

    Attributes:
        module: called once for all pictures of a prefill, or of one kind.
        projector: the module that brings features to the width of the language model.
        attention: the attention layers that selectors may ask about.
        merge: side of the square of patches that become one token; at the edge there may be fewer.
        layout: which pictures the rows of visual tokens show.
    """

    def __init__(
        self,
        module: nn.Module,
        projector: nn.Module,
        attention: Mapping[VisionDepth, nn.Module],
        merge: int,
        layout: Layout,
    ) -> None:
        self.module, self.projector = module, projector
        self.attention, self.merge, self.layout = dict(attention), merge, layout

    @abstractmethod
    def grids(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Grid]:
        """Grids of the pictures of a call, from the tower's arguments."""

    @abstractmethod
    def features(self, call: TowerCall, projected: Tensor) -> Tensor:
        """What the projector received, merged patches averaged, `[T, E]`."""

    @abstractmethod
    def received(self, call: TowerCall, layer: nn.Module, given: AttentionInput) -> Received:
        """Attention that each token receives in a layer, merged patches averaged, `[T]` each.

        Every picture is a softmax of its own, as in the tower.
        """

    @abstractmethod
    def keys(self, call: TowerCall, layer: nn.Module, given: AttentionInput, rope: bool) -> Tensor:
        """Keys of each token in a layer, merged patches averaged, `[T, H, D]`.

        Args:
            rope: as attention uses them; False leaves out the tower's rotation, if it has one.
        """

    def counts(self, call: TowerCall) -> list[int]:
        """Visual tokens of each picture of a call."""
        return [-(-height // self.merge) * -(-width // self.merge) for height, width in call.grids]
