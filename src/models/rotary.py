"""Rotary embeddings as decoders hand them to their layers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Rotary = Tensor | tuple[Tensor, ...]
"""What a decoder hands its layers as rotary embedding: cos and sin, or complex rotations."""


def each_rotary(change: Callable[[Tensor], Tensor], rotary: Rotary) -> Rotary:
    """The same change of every tensor of a rotary embedding."""
    return change(rotary) if isinstance(rotary, Tensor) else tuple(map(change, rotary))


def each_pair(change: Callable[[Tensor, Tensor], Tensor], first: Rotary, second: Rotary) -> Rotary:
    """A function of the tensors of two rotary embeddings of the same kind."""
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return change(first, second)
    return tuple(change(x, y) for x, y in zip(first, second, strict=True))


def rotate(states: Tensor, rotary: Rotary | None) -> Tensor:
    """Rotary embedding, half-split: `states` `[B, H, Q, D]`, cos and sin `[B, Q, R]`.

    Where R < D (partial rotary), only the first R dimensions turn.
    """
    if rotary is None:
        return states
    cos, sin = (x[:, None] for x in rotary)
    turning, fixed = states[..., : cos.shape[-1]], states[..., cos.shape[-1] :]
    first, second = turning.chunk(2, dim=-1)
    turned = turning * cos + torch.cat([-second, first], dim=-1) * sin
    return torch.cat([turned, fixed], dim=-1) if fixed.shape[-1] else turned


def rotate_pairs(states: Tensor, rotary: Rotary | None) -> Tensor:
    """Rotary embedding of neighbouring dimensions (even, odd); shapes as in `rotate`."""
    if rotary is None:
        return states
    cos, sin = (x[:, None] for x in rotary)
    turning, fixed = states[..., : cos.shape[-1]], states[..., cos.shape[-1] :]
    even, odd = turning[..., ::2], turning[..., 1::2]
    turned = turning * cos + torch.stack([-odd, even], dim=-1).flatten(-2) * sin
    return torch.cat([turned, fixed], dim=-1) if fixed.shape[-1] else turned
