"""The rotary embedding in two halves."""

from __future__ import annotations

import torch
from torch import Tensor


def apply_rotary_emb(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate element i of each head with element i + D/2.

    Args:
        x: `[B, S, H, D]`.
        cos, sin: `[S, D/2]`.
    """
    first, second = x.chunk(2, dim=-1)
    cos, sin = cos[:, None], sin[:, None]
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
