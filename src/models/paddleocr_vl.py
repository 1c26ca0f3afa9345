"""PaddleOCR-VL: native resolution, M-RoPE, a small Ernie decoder; images only."""

from __future__ import annotations

from .position_grids import PositionGrids


class PaddleOcrVL(PositionGrids):
    """Nothing is published for it: the share of Qwen2.5-VL-7B's layer is taken (inferred)."""

    name = "paddleocr_vl"
    model_types = ("paddleocr_vl",)

    def default_layer(self, depth: int) -> int:
        """16/28 of the depth (inferred)."""
        return max(1, round(depth * 16 / 28))
