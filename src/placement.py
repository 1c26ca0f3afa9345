"""Where a stage can act: the layers that have the signals which its selector asks for."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from .selectors.base import Selector, signals_of
from .tokens.signals import FROM_NEXT_LAYER, FROM_PREVIOUS_LAYER

if TYPE_CHECKING:
    from .policy import Stage  # which imports this module


def offering(selector: Selector, depth: int, readable: Collection[int]) -> list[int]:
    """The layers whose stage could have the signals that a selector asks for, ascending.

    Args:
        depth: number of decoder layers.
        readable: layers whose attention and values can be asked for.
    """
    needs = signals_of(selector)
    layers = list(range(depth))
    if needs & FROM_PREVIOUS_LAYER:
        layers = [at for at in layers if at - 1 in readable]
    if needs & FROM_NEXT_LAYER:
        layers = [at for at in layers if at in readable]
    return layers


def placed(name: str, stage: Stage, layer: int, depth: int, readable: Collection[int]) -> int:
    """The stage's layer, or the next one that has its signals where the stage names no number.

    Args:
        layer: as resolved.
        readable: layers whose attention and values can be asked for.

    Raises:
        ValueError: a numbered layer lacks them, or every layer from there on does.
    """
    able = offering(stage.selector, depth, readable)
    if len(readable) == depth or layer >= depth or layer in able:
        return layer
    needs = signals_of(stage.selector)
    later = [at for at in able if at > layer]
    if later and not isinstance(stage.layer, int):
        return later[0]
    asked = ", ".join(sorted(needs & (FROM_PREVIOUS_LAYER | FROM_NEXT_LAYER)))
    raise ValueError(
        f"stages.{name}.layer is {layer}, but its selector needs {asked}, and only the layers "
        f"{', '.join(map(str, readable))} of this model have full attention (its other layers keep "
        f"a state or a window): choose one of {', '.join(map(str, able)) or 'no layer at all'}"
    )
