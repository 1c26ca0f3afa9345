"""PaddleOCR-VL: native resolution, M-RoPE, a small Ernie decoder; images only."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .position_grids import PositionGrids


class PaddleOcrVL(PositionGrids):
    """Nothing is published for it: the share of Qwen2.5-VL-7B's layer is taken (inferred)."""

    name = "paddleocr_vl"
    model_types = ("paddleocr_vl",)

    def default_layer(self, depth: int) -> int:
        """16/28 of the depth (inferred)."""
        return max(1, round(depth * 16 / 28))

    def frequency_axis(self, model: Any, n: int) -> Tensor:
        """Sections of the frequencies turn with t, h and w; the rotary embedding names them."""
        sections = torch.tensor(self.text_model(model).rotary_emb.mrope_section)
        return torch.arange(len(sections)).repeat_interleave(sections)
