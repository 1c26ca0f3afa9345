"""Qwen2.5-VL: native resolution, M-RoPE with the axes (t, h, w), images and videos."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..position_grids import PositionGrids
from ..vision_towers.base import VisionTower
from ..vision_towers.packed import windowed_tower
from .processors import ImageTextProcessor

PUBLISHED_LAYERS = {28: 16, 36: 22, 64: 35}
"""Selection layer by depth, as published: 7B, 3B, 32B."""


class Qwen25VL(PositionGrids):
    """One row per image and per video frame (of `temporal_patch_size` pictures each)."""

    name = "qwen2_5_vl"
    model_types = ("qwen2_5_vl",)

    def default_layer(self, depth: int) -> int:
        """As published for 28, 36 and 64 layers; else 16/28 of the depth (inferred)."""
        return PUBLISHED_LAYERS.get(depth, max(1, round(depth * 16 / 28)))

    def vision_tower(self, core: Any) -> VisionTower:
        return windowed_tower(core.visual)

    def load_processor(self, folder: Path) -> Any:
        return ImageTextProcessor.from_pretrained(folder)
