"""LLaVA-1.5: one square of 24 x 24 tokens per image, one rotary axis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from .areas import Area, central_square
from .base import Family
from .blocks import Block, square_blocks
from .vision_towers.base import VisionTower
from .vision_towers.batched import class_token_tower

PUBLISHED_LAYERS = {32: 16}
"""Selection layer by depth in the published code (7B); the paper's text says 15."""


SQUARE_TOWERS = ("clip_vision_model", "siglip_vision_model")
"""Vision towers whose images are squares of one size."""


class Llava(Family):
    """One row per image. `xy` speaks of the square that the image processor cuts out."""

    name = "llava"
    model_types = ("llava",)
    spare_layers = (0,)

    def check(self, config: Any) -> None:
        tower = config.vision_config.model_type
        if tower not in SQUARE_TOWERS:
            raise ValueError(
                f"this model is of type 'llava' with the vision tower {tower!r}"
                f"{' (Pixtral)' if tower == 'pixtral' else ''}, whose images are no squares of one "
                f"size: the family 'llava' knows {', '.join(SQUARE_TOWERS)}"
            )

    def default_layer(self, depth: int) -> int:
        """As published for 32 layers; else half of the depth (inferred)."""
        return PUBLISHED_LAYERS.get(depth, max(1, depth // 2))

    def blocks(self, core: Any, inputs: Mapping[str, Any], positions: Tensor) -> list[Block]:
        config = core.config
        side = config.vision_config.image_size // config.vision_config.patch_size
        return square_blocks(inputs, config.image_token_id, side)

    def vision_tower(self, core: Any) -> VisionTower:
        layers = [layer.self_attn for layer in core.vision_tower.encoder.layers]
        patch = core.config.vision_config.patch_size
        return class_token_tower(core, layers, (patch, patch))

    def visible_area(self, processor: Any, size: tuple[int, int], n_images: int) -> Area:
        """The square in the middle that is cut out, or to which the image is padded."""
        images = processor.image_processor
        if getattr(images, "do_pad", False):
            return central_square(size, max(size))
        if images.do_center_crop:
            return central_square(size, min(size))
        return super().visible_area(processor, size, n_images)

    def input_sizes(self, inputs: Mapping[str, Any], processor: Any) -> list[tuple[int, int]]:
        height, width = inputs["pixel_values"].shape[-2:]
        return [(width, height)] * len(inputs["pixel_values"])
