"""ViP-LLaVA: one square of tokens per image, features of several layers of the vision tower."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ivcprune.models.base import Family
from ivcprune.models.blocks import Block, square_blocks
from torch import Tensor


class VipLlava(Family):
    """One row per image. The selection layer is inferred: half of the depth, as in LLaVA-1.5."""

    name = "vipllava"
    model_types = ("vipllava",)

    def default_layer(self, depth: int) -> int:
        return max(1, depth // 2)

    def blocks(self, core: Any, inputs: Mapping[str, Any], positions: Tensor) -> list[Block]:
        vision = core.config.vision_config
        side = vision.image_size // vision.patch_size
        return square_blocks(inputs, core.config.image_token_id, side)

    def input_sizes(self, inputs: Mapping[str, Any], processor: Any) -> list[tuple[int, int]]:
        height, width = inputs["pixel_values"].shape[-2:]
        return [(width, height)] * len(inputs["pixel_values"])
