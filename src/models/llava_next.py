"""LLaVA-NeXT (LLaVA-1.6): a view of the whole image, then its tiles as one unpadded area."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from .anyres import Layout, area_of_features, area_of_size, assign, with_tiles
from .base import Family
from .blocks import Block, is_visual


class LlavaNext(Family):
    """Each picture is a "thumbnail" row and, line by line, a "tile" row with newline tokens.

    Layouts are those of LLaVA-OneVision for a picture alone in its sample, without a bound on the
    tiles. Nothing is published for this family: LLaVA-1.5's layer is taken (inferred).
    """

    name = "llava_next"
    model_types = ("llava_next",)

    def default_layer(self, depth: int) -> int:
        """Half of the depth, as in LLaVA-1.5 (inferred)."""
        return max(1, depth // 2)

    def blocks(self, core: Any, inputs: Mapping[str, Any], positions: Tensor) -> list[Block]:
        places = is_visual(inputs, core.config.image_token_id).nonzero().tolist()
        blocks: list[Block] = []
        image, before = -1, -1
        for sample, start, parts in assign(places, _layouts(core, inputs), "image"):
            image, before = (image + 1 if sample == before else 0), sample
            for part in parts:
                blocks.append(replace(part, sample=sample, image=image, start=start))
                start += len(part.cell)
        return blocks

    def input_sizes(self, inputs: Mapping[str, Any], processor: Any) -> list[tuple[int, int]]:
        """The original sizes: both views show the whole picture."""
        return [(width, height) for height, width in inputs["image_sizes"].tolist()]


def _layouts(core: Any, inputs: Mapping[str, Any]) -> Iterator[Layout]:
    """From the features where `generate` has encoded the images beforehand, else from the sizes.

    The features come with each sequence, beams included, but the sizes of the images do not.
    """
    config = core.config
    side = config.vision_config.image_size // config.vision_config.patch_size
    encoded = (inputs.get("mm_encoder_outputs") or {}).get("image")
    if encoded is not None:
        for features in encoded.pooler_output:
            yield with_tiles(side, *(area_of_features(core, features, side) or (0, 0)))
    elif (sizes := inputs.get("image_sizes")) is not None:
        for size in sizes.tolist():
            yield with_tiles(side, *area_of_size(config, size, side))
