"""Visual tokens without a model: rows of given grids, with recorded value vectors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ivcprune.models.base import Block, visual_tokens
from ivcprune.signals import TextTokens
from ivcprune.testing.golden import RecordedSignals
from ivcprune.tokens import Signal, VisualTokens


def m_rope(grids: Sequence[tuple[int, int]], before: int, after: int) -> tuple[list[int], Tensor]:
    """First index of each image and M-RoPE positions `[3, S]` of text, images, text."""
    pieces, starts, now, seen = [torch.arange(before).expand(3, -1)], [], before, before
    for height, width in grids:
        starts.append(seen)
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        time = torch.zeros_like(rows)
        pieces.append(torch.stack([time, rows, columns]).view(3, -1) + now)
        seen, now = seen + height * width, now + max(height, width)
    pieces.append((torch.arange(after) + now).expand(3, -1))
    return starts, torch.cat(pieces, dim=1)


def tokens_of(
    *grids: tuple[int, int],
    before: int = 3,
    after: int = 6,
    values: Tensor | None = None,
    heads: int = 2,
    dim: int = 4,
    theta: float = 1e4,
    seed: int = 0,
) -> VisualTokens:
    """One sample of images with those grids; text before and after them.

    Args:
        values: `[H, S, D]`; random where not given.
    """
    starts, positions = m_rope(grids, before, after)
    length = positions.shape[1]
    if values is None:
        generator = torch.Generator().manual_seed(seed)
        values = torch.randn(heads, length, dim, generator=generator)
    blocks = [
        Block.full(0, i, "image", grid, start)
        for i, (grid, start) in enumerate(zip(grids, starts, strict=True))
    ]
    index = torch.arange(length)[None]
    end = length - after
    text = (index < before) | (index >= end)
    after_image = index >= end + 2
    inv_freq = theta ** -(torch.arange(0, 8, 2) / 8)
    counts = [int(text.sum())], [int(after_image.sum())]
    signals = RecordedSignals(values[None], TextTokens(text, after_image, *counts))
    tokens = visual_tokens(blocks, positions[:, None], inv_freq, seeds=())
    return tokens.with_signals(signals, frozenset({Signal.VALUES}))
