"""InternVL 2.5, 3 and 3.5: images as tiles of 448 pixels with a thumbnail behind them."""

from __future__ import annotations

from collections.abc import Mapping
from math import isqrt
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

from ..base import Family
from ..blocks import Block, is_visual
from ..vision_towers.base import VisionTower
from ..vision_towers.batched import class_token_tower
from .config import convert_config, is_chat, read_config
from .conversion import load_chat_model
from .pictures import picture_blocks, read_pictures
from .processor import InternVLImageTextProcessor, chat_processor

PUBLISHED_LAYERS = {32: 16}
"""Selection layer by depth, as published: InternVL2.5-8B."""


class InternVL(Family):
    """One row per tile and one for the thumbnail, which comes last and shows the whole image.

    An image of one tile is its own thumbnail, and so is each frame of a video.
    """

    name = "internvl"
    model_types = ("internvl", "internvl_chat")

    def default_layer(self, depth: int) -> int:
        """As published for 32 layers; else half of the depth (inferred)."""
        return PUBLISHED_LAYERS.get(depth, max(1, depth // 2))

    def blocks(self, core: Any, inputs: Mapping[str, Any], positions: Tensor) -> list[Block]:
        """Images are runs of image tokens: closing and opening tokens stand between them.

        The number of tiles does not tell their layout (6 are 2 x 3 or 3 x 2), and nothing tells
        frames from images. Both follow from `image_sizes` `[B, pictures, 3]`, which our processor
        returns (see there): the model ignores it, and `generate` passes it on and repeats it with
        the sequences for beams. Without it, tiles have no place in their image: `xy` is NaN and
        `thumbnail_cell` None; and frames count as images.
        """
        config = core.config
        n = config.image_seq_length
        runs: list[list[tuple[int, int]]] = [[] for _ in range(positions.shape[1])]
        for sample, start, length in _runs(is_visual(inputs, config.image_token_id)):
            if length % n:
                raise ValueError(
                    f"input_ids of sample {sample} hold {length} image tokens in a row, which is "
                    f"no multiple of the {n} of a tile: pass input_ids as the processor returns "
                    "them"
                )
            runs[sample].append((start, length // n))
        tile = config.vision_config.image_size
        pictures = read_pictures(inputs.get("image_sizes"), tile, [len(run) for run in runs])
        blocks: list[Block] = []
        for sample, known in enumerate(pictures):
            image, previous = -1, 0
            for (start, n_blocks), picture in zip(runs[sample], known, strict=True):
                image += not 0 < picture.video == previous
                previous = picture.video
                blocks += picture_blocks(sample, image, start, n_blocks, isqrt(n), picture)
        return blocks

    def vision_tower(self, core: Any) -> VisionTower:
        layers = [layer.attention for layer in core.vision_tower.encoder.layer]
        patch, merge = core.config.vision_config.patch_size, round(1 / core.config.downsample_ratio)
        return class_token_tower(core, layers, tuple(patch), merge)

    def input_sizes(self, inputs: Mapping[str, Any], processor: Any) -> list[tuple[int, int]]:
        """(width, height) of all tiles of each image together; its boxes are in thousandths."""
        sizes = inputs["image_sizes"].flatten(0, 1).tolist()
        return [(width, height) for height, width, video in sizes if height and not video]

    def image_tokens(self, processor: Any, size: tuple[int, int], n_images: int) -> int:
        width, height = size
        options = {"max_patches": processor.most_tiles(n_images)}
        tiles = processor.image_processor.get_number_of_image_patches(height, width, options)
        return n_images * int(tiles) * int(processor.image_seq_length)

    def read_config(self, config: Mapping[str, Any]) -> PretrainedConfig:
        return convert_config(config) if is_chat(config) else super().read_config(config)

    def load_processor(self, folder: Path) -> Any:
        config = read_config(folder)
        if is_chat(config):
            return chat_processor(folder, config)
        return InternVLImageTextProcessor.from_pretrained(folder, backend="pil")

    def limit_pixels(self, processor: Any, minimum: int | None, maximum: int | None) -> None:
        """As numbers of whole tiles: an area holds as many as fit, and at least one."""
        images = processor.image_processor
        area = images.size["height"] * images.size["width"]
        for name, limit in (("min_patches", minimum), ("max_patches", maximum)):
            if limit is not None:
                setattr(images, name, max(1, limit // area))

    def load_model(self, folder: Path, **options: Any) -> tuple[PreTrainedModel, dict[str, Any]]:
        config = read_config(folder)
        if is_chat(config):
            return load_chat_model(folder, config, **options)
        return super().load_model(folder, **options)


def _runs(is_image: Tensor) -> list[list[int]]:
    """Sample, start and length of each run of image tokens in a mask `[B, S]`."""
    edges = nn.functional.pad(is_image.long(), (1, 1)).diff(dim=1)
    sample, start = (edges == 1).nonzero().T
    _, end = (edges == -1).nonzero().T
    runs: list[list[int]] = torch.stack([sample, start, end - start], dim=1).tolist()
    return runs
