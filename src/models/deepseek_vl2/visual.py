"""From patches of the views of an image to its visual tokens (arXiv:2412.10302, section 2)."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from .tiling import Grid


class DownsampleProjector(nn.Module):
    """Squares of patches become one token each: their channels side by side, then an MLP."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.ratio = config.downsample_ratio
        width = config.text_config.hidden_size
        self.layers = nn.Sequential(
            nn.Linear(config.vision_config.hidden_size * self.ratio**2, width),
            nn.GELU(),
            nn.Linear(width, width),
        )

    def forward(self, patches: Tensor) -> Tensor:
        """`[T, p * p, C]` to `[T, s, s, E]`, s = ceil(p / ratio): zeros fill up odd sides."""
        side = int(patches.shape[1] ** 0.5)
        grid = patches.transpose(1, 2).unflatten(2, (side, side))
        missing = -side % self.ratio
        grid = nn.functional.pad(grid, (0, missing, 0, missing))
        merged = nn.functional.unfold(grid, self.ratio, stride=self.ratio).transpose(1, 2)
        tokens = (side + missing) // self.ratio
        return cast(Tensor, self.layers(merged).unflatten(1, (tokens, tokens)))


def arrange(views: Tensor, grid: Grid, newline: Tensor, separator: Tensor) -> Tensor:
    """The visual tokens of an image, `[n, E]`: thumbnail, separator, and the canvas of its tiles.

    Args:
        views: its thumbnail and its tiles in raster order, `[1 + w * h, s, s, E]`.
        grid: (w, h).
        newline: comes after every line, `[E]`.
        separator: comes between thumbnail and canvas, `[E]`.
    """
    width, height = grid
    thumbnail, tiles = views[0], views[1:].unflatten(0, (height, width))
    canvas = tiles.transpose(1, 2).flatten(2, 3).flatten(0, 1)
    return torch.cat([_lines(thumbnail, newline), separator[None], _lines(canvas, newline)])


def _lines(grid: Tensor, newline: Tensor) -> Tensor:
    """`[h, w, E]` as `[h * (w + 1), E]`."""
    return torch.cat([grid, newline.expand(len(grid), 1, -1)], dim=1).flatten(0, 1)
