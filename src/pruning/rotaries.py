"""The rotary embeddings of what is left, from those that the decoder makes for the whole input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ..models.rotary import Rotary, each_rotary
from .memo import SameTensors
from .sequence.packing import taken


class LayerRotaries:
    """A decoder may have one for each type of its layers; layers alike share one."""

    def __init__(self) -> None:
        self._taken: SameTensors[Rotary] = SameTensors()
        self._replaced: Rotary | None = None

    @property
    def replaced(self) -> bool:
        """Whether there is one of new positions."""
        return self._replaced is not None

    def replace(self, rotary: Rotary) -> None:
        """From now on it is this one, of new positions."""
        self._replaced = rotary

    def current(self, arguments: Mapping[str, Any], origin: Tensor | None) -> Rotary:
        """The embedding of the current sequence.

        Args:
            arguments: keyword arguments of a layer, as the decoder made them for the whole input.
            origin: slots of the input that its tokens come from, long `[B, S]`; None for all.

        Raises:
            ValueError: the decoder gives none.
        """
        if self._replaced is not None:
            return self._replaced
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
