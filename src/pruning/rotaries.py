"""Positions and rotary embeddings of what is left: those of the input, or contiguous ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..models.rotary import Rotary, each_rotary
from .memo import SameTensors
from .sequence.packing import taken
from .sequence.slots import PackedSequence


@dataclass(frozen=True, eq=False)
class Contiguous:
    """Contiguous positions that a stage gives to what it leaves, for all layers that follow.

    Attributes:
        positions: position ids, long `[B, S]`.
        shift: how far those of the last tokens lie below the logical ones, long `[B]`.
        rotary: the rotary embedding of the positions.
    """

    positions: Tensor
    shift: Tensor
    rotary: Rotary

    @classmethod
    def of(
        cls, sequence: PackedSequence, earlier: Tensor | None, make: Callable[[Tensor], Rotary]
    ) -> Contiguous:
        """Those of a sequence; `earlier` as in `PackedSequence.contiguous`."""
        positions = sequence.contiguous(earlier)
        shift = sequence.positions[:, -1] - positions[:, -1]
        return cls(positions, shift, make(positions))


class LayerRotaries:
    """Those of the input: one for each type of the decoder's layers; layers alike share it."""

    def __init__(self) -> None:
        self._taken: SameTensors[Rotary] = SameTensors()

    def current(self, arguments: Mapping[str, Any], origin: Tensor | None) -> Rotary:
        """The embedding of the current sequence.

        Args:
            arguments: keyword arguments of a layer, as the decoder made them for the whole input.
            origin: slots of the input that its tokens come from, long `[B, S]`; None for all.

        Raises:
            ValueError: the decoder gives none.
        """
        given = arguments.get("position_embeddings")
        if given is None:
            raise ValueError(
                "the decoder gives its layers no position_embeddings (no rotary embedding that is "
                "made once for all layers): pruning needs them, to keep the positions of what stays"
            )
        if origin is None:
            rotary: Rotary = given
            return rotary
        return self._taken.once(
            (given, origin), lambda: each_rotary(lambda x: taken(x, origin), given)
        )
