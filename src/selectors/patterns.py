"""Patterns of tokens that the implicit visual coordinates are compared with (Tab. 6)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..tokens.visual import VisualTokens
from .base import Ranked, Selector


@dataclass(frozen=True)
class AnnotatedSelector(Selector):
    """The annotated foreground: tokens that a box of the sample overlaps (Tab. 6 and 11).

    Cost: none. Source: the paper (arXiv 2602.03060). Inferred: a token counts as soon as a box
    overlaps it. Only a sample's first image is annotated; further ones keep nothing by it.
    """

    def select(self, tokens: VisualTokens) -> Tensor:
        """See `Selector.select`.

        Raises:
            ValueError: the samples have no annotation.
        """
        if tokens.annotated is None:
            raise ValueError(
                "AnnotatedSelector: the samples are not annotated: use a data set with boxes of "
                "the foreground, or give them with run.annotate(boxes) before the prefill"
            )
        return tokens.annotated & tokens.valid


@dataclass(frozen=True)
class CornersSelector(Selector):
    """Four corners and the centre of each grid ("C Points" of Tab. 6).

    Cost: none. Source: the paper (arXiv 2602.03060). Inferred: the centre of an even side is the
    first of its two middle cells.
    """

    def select(self, tokens: VisualTokens) -> Tensor:
        last = tokens.grid_size - 1
        is_corner = ((tokens.cell == 0) | (tokens.cell == last)).all(dim=-1)
        is_centre = (tokens.cell == last // 2).all(dim=-1)
        return (is_corner | is_centre) & tokens.eligible & tokens.valid


@dataclass(frozen=True)
class WindowPatternSelector(Ranked):
    """A window in the middle of each grid ("Window" of Tab. 6).

    Formula: the tokens nearest to the centre, where the distance is the larger of those along the
    two sides, each in halves of its side: a window of the grid's own proportions.

    Cost: none. Source: the paper (arXiv 2602.03060). Inferred: it shows a picture only, so place,
    proportions and size (15 %, as its random pattern) are ours.
    """

    keep: float | int = 0.15

    def score(self, tokens: VisualTokens) -> Tensor:
        return -_from_centre(tokens).abs().amax(dim=-1)


@dataclass(frozen=True)
class DiagonalSelector(Ranked):
    """The two diagonals of each grid ("Diagonal" of Tab. 6).

    Formula: the tokens nearest to a diagonal of the grid, both sides scaled to length 1, so that
    a larger budget makes wider lines.

    Cost: none. Source: the paper (arXiv 2602.03060). Inferred: it shows a picture only, so that
    there are two diagonals, and their size (15 %, as its random pattern), are ours.
    """

    keep: float | int = 0.15

    def score(self, tokens: VisualTokens) -> Tensor:
        down, across = _from_centre(tokens).unbind(dim=-1)
        return -torch.minimum((down - across).abs(), (down + across).abs())


def _from_centre(tokens: VisualTokens) -> Tensor:
    """Place of each token relative to its grid's centre, in halves of the sides, `[R, N, 2]`."""
    return (2 * tokens.cell + 1) / tokens.grid_size - 1
