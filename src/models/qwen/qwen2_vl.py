"""Qwen2-VL: laid out as Qwen2.5-VL, which it differs from in the vision tower and frame times."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..vision_towers.base import VisionTower
from ..vision_towers.packed import packed_tower
from .processors import Qwen2Processor
from .qwen2_5_vl import Qwen25VL


class Qwen2VL(Qwen25VL):
    """No settings are published for it: those of Qwen2.5-VL at the same depth (inferred)."""

    name = "qwen2_vl"
    model_types = ("qwen2_vl",)

    def vision_tower(self, core: Any) -> VisionTower:
        return packed_tower(core.visual)

    def load_processor(self, folder: Path) -> Any:
        return Qwen2Processor.from_pretrained(folder)
