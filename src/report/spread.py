"""By how much lines of a plot are moved sideways, so that no interval hides another."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, pairwise

from .panels import Panel

SPREAD = 8.0
"""Width in percent of tokens over which policies are spread, so that no interval hides another."""


def shifts_of(panel: Panel, places: Sequence[Sequence[float]]) -> list[float]:
    """By how much each line is moved sideways, where points of others are near.

    Args:
        places: of the points of each line.
    """
    near, width = SPREAD, SPREAD
    if panel.setting is not None:
        values = sorted({x for of_line in places for x in of_line})
        near = min((after - before for before, after in pairwise(values)), default=1.0)
        width = near / 3
    shifts = [0.0] * len(places)
    for group in _crowds(places, near):
        for number, line in enumerate(group):
            shifts[line] = width * ((number + 0.5) / len(group) - 0.5)
    return shifts


def _crowds(places: Sequence[Sequence[float]], near: float) -> list[list[int]]:
    """Numbers of lines of which some points are less than `near` apart, directly or by others."""
    groups: list[list[int]] = []
    for line, own in enumerate(places):
        close = [
            group
            for group in groups
            if any(abs(x - y) < near for other in group for x in own for y in places[other])
        ]
        groups = [group for group in groups if group not in close]
        groups.append(sorted([line, *chain.from_iterable(close)]))
    return groups
