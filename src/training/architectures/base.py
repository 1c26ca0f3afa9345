"""What training must know about a bundled model; one file an architecture implements it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from PIL.Image import Image
from torch import Tensor, nn
from transformers import PreTrainedModel


@dataclass(frozen=True, eq=False)
class Picture:
    """One image as a model takes it: N visual tokens, and where they are.

    Attributes:
        size: width and height of the picture that boxes are written for, in pixels.
        areas: long [N, 4], the part `x1 y1 x2 y2` of that picture that each token shows.
        positions: long [A, N] on each of the model's A rotary axes; the first one is 0.
        extent: how far text positions go on behind the image.
        inputs: further arguments of the model; those of several pictures are concatenated.
    """

    size: tuple[int, int]
    areas: Tensor
    positions: Tensor
    extent: int
    inputs: dict[str, Tensor]


class Architecture(ABC):
    """An untrained model with its processor, and how it takes pictures."""

    around_image: ClassVar[tuple[str, str]] = ("", "")
    """What the processor writes before and behind the visual tokens of an image."""

    @abstractmethod
    def build_processor(self) -> Any:
        """Image processor, tokenizer and chat template."""

    @abstractmethod
    def build_model(self, processor: Any) -> PreTrainedModel:
        """Untrained model; random weights come from the global generator of torch."""

    @abstractmethod
    def picture(self, processor: Any, image: Image) -> Picture:
        """What the model makes of an image."""


def grid_areas(rows: int, columns: int, height: int, width: int) -> Tensor:
    """Areas of a grid's cells in raster order, long [rows * columns, 4].

    Args:
        height, width: of a cell, in pixels.
    """
    top, left = torch.meshgrid(
        torch.arange(rows) * height, torch.arange(columns) * width, indexing="ij"
    )
    return torch.stack([left, top, left + width, top + height], dim=-1).view(-1, 4)


def in_a_row(n: int) -> Tensor:
    """Positions of n tokens on a single rotary axis, long [1, n]."""
    return torch.arange(n)[None]


def initialise(model: nn.Module) -> None:
    """Weights with standard deviation fan_in ** -0.5, embeddings 0.5, biases 0.

    The default of 0.02 everywhere is made for widths of thousands, not of a hundred.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.Conv3d):
            nn.init.normal_(module.weight, std=module.weight[0].numel() ** -0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.5)
