"""PaddleOCR-VL: native resolution, M-RoPE, a small Ernie decoder; images only."""

from __future__ import annotations

from typing import Any

from .position_grids import PositionGrids


class PaddleOcrVL(PositionGrids):
    """Nothing is published for it: the share of Qwen2.5-VL-7B's layer is taken (inferred)."""

    name = "paddleocr_vl"
    model_types = ("paddleocr_vl",)

    def default_layer(self, depth: int) -> int:
        """16/28 of the depth (inferred)."""
        return max(1, round(depth * 16 / 28))

    def image_tokens(self, processor: Any, size: tuple[int, int], n_images: int) -> int | None:
        """The stock processor does not count, its image processor does."""
        images, (width, height) = processor.image_processor, size
        patches = images.get_number_of_image_patches(height, width, {})
        return n_images * int(patches // images.merge_size**2)
