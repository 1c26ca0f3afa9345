"""Positions of what is kept: they travel beside the embeddings, and gaps stay gaps.

An engine counts positions of pictures without gaps. Here each kept token carries its row and column
in extra channels of its embedding; the engine is given the position of the picture's start for all
of them, and row and column are added where the positions enter the language model.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

CHANNELS = 4
"""High and low part of the row, high and low part of the column."""

BASE = 256
"""bfloat16 holds every whole number up to 256 exactly, and few above."""


def with_places(embeddings: Tensor, places: Tensor) -> Tensor:
    """Embeddings with their places in four more channels, `[n, E + 4]`.

    Args:
        embeddings: `[n, E]`, of any floating type with 8 bits of precision or more.
        places: row and column of each, long `[n, 2]`, below 65,536.
    """
    parts = torch.stack([places // BASE, places % BASE], dim=-1).flatten(1)
    return torch.cat([embeddings, parts.to(embeddings)], dim=1)


def split_places(embeddings: Tensor) -> tuple[Tensor, Tensor]:
    """The embeddings `[n, E]` and the places, long `[n, 2]`, that `with_places` put together."""
    parts = embeddings[:, -CHANNELS:].round().long().view(-1, 2, 2)
    return embeddings[:, :-CHANNELS], parts[..., 0] * BASE + parts[..., 1]


def prompt_positions(length: int, pictures: Sequence[tuple[int, int, int]]) -> tuple[Tensor, int]:
    """Position ids of a prompt whose pictures have lost tokens, and what decoding adds.

    Args:
        length: S, tokens of the prompt.
        pictures: in order: index of the first token, tokens that are left, and the longer side of
            the full grid.

    Returns:
        long `[3, S]`, in which all tokens of a picture have the position of its start, and the
        difference between position and index from the end of the prompt on.
    """
    steps = torch.ones(length, dtype=torch.long)
    for start, kept, extent in pictures:
        steps[start : start + kept] = 0
        if kept:  # all at the start; what follows counts on behind the whole picture
            steps[start + kept - 1] = extent
    ends = steps.cumsum(0)
    positions = ends - steps
    for start, kept, _ in pictures:
        positions[start : start + kept] = positions[start : start + 1]
    end = int(ends[-1]) if length else 0
    return positions.expand(3, -1).clone(), end - length
