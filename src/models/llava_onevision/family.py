"""LLaVA-OneVision: a view of the whole image, then its tiles as one unpadded area; videos."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from ..anyres import Layout, area_of_features, area_of_size, assign, view, with_tiles
from ..areas import Area, central_square
from ..base import Family
from ..blocks import Block
from .processor import OnevisionProcessor

_IMAGE, _VIDEO = 1, 2
"""Kinds of visual tokens, as processors number them."""
_NAMES = {_IMAGE: "image", _VIDEO: "video"}


class LlavaOnevision(Family):
    """A picture alone in its sample is a "thumbnail" row and, line by line, a "tile" row.

    The tiles are cut from one enlarged picture, whose padding the model takes away, so that they
    are one area of (h, w) tokens; each line ends with a newline token. Of several pictures in a
    sample each is one "image" row, padded to a square (which `xy` then speaks of) and followed by
    a separator. A video is a "frame" row for each of its pictures, and one separator in the end.
    Separators are rows of one special token.

    Nothing is published for this family: Qwen2.5-VL's settings are taken (inferred).
    """

    name = "llava_onevision"
    model_types = ("llava_onevision",)

    def default_layer(self, depth: int) -> int:
        """16/28 of the depth, as in Qwen2.5-VL-7B (inferred)."""
        return max(1, round(depth * 16 / 28))

    def blocks(self, core: Any, inputs: Mapping[str, Any], positions: Tensor) -> list[Block]:
        kinds = _token_kinds(core.config, inputs)
        layouts = {_IMAGE: _images(core, inputs), _VIDEO: _videos(core, inputs)}
        where = {kind: (kinds == kind).nonzero().tolist() for kind in layouts}
        found = [
            item
            for kind, places in where.items()
            for item in assign(places, layouts[kind], _NAMES[kind])
        ]
        blocks: list[Block] = []
        image, sample = -1, -1
        for at, start, parts in sorted(found, key=lambda item: item[:2]):
            image = image + 1 if at == sample else 0
            sample = at
            for part in parts:
                blocks.append(replace(part, sample=sample, image=image, start=start))
                start += len(part.cell)
        return blocks

    def input_sizes(self, inputs: Mapping[str, Any], processor: Any) -> list[tuple[int, int]]:
        """The original sizes: every view shows the whole picture."""
        return [(width, height) for height, width in inputs["image_sizes"].tolist()]

    def visible_area(self, processor: Any, size: tuple[int, int], n_images: int) -> Area:
        whole = super().visible_area(processor, size, n_images)
        return whole if n_images == 1 else central_square(size, max(size))

    def image_tokens(self, processor: Any, size: tuple[int, int], n_images: int) -> int | None:
        if n_images == 1:
            return super().image_tokens(processor, size, 1)
        separator = 1
        return n_images * (int(processor.num_image_tokens) + separator)

    def load_processor(self, folder: Path) -> Any:
        return OnevisionProcessor.from_pretrained(folder, backend="pil")


def _token_kinds(config: Any, inputs: Mapping[str, Any]) -> Tensor:
    """0 for text, 1 for image and 2 for video tokens, long `[B, S]`."""
    if (input_ids := inputs.get("input_ids")) is not None:
        is_image = (input_ids == config.image_token_id).long()
        return is_image + 2 * (input_ids == config.video_token_id)
    return cast(Tensor, inputs["mm_token_type_ids"])


# What an image or a video looks like ---------------------------------------------------------


def _images(core: Any, inputs: Mapping[str, Any]) -> Iterator[Layout]:
    """From the features where `generate` has encoded the images beforehand, else from the sizes.

    The features come with each sequence, beams included, but the sizes of the images do not.
    """
    config = core.config.vision_config
    side = config.image_size // config.patch_size
    encoded = (inputs.get("mm_encoder_outputs") or {}).get("image")
    if encoded is not None:
        areas = [area_of_features(core, features, side) for features in encoded.pooler_output]
    elif (sizes := inputs.get("image_sizes")) is not None:
        areas = _areas_of_sizes(core.config, sizes, inputs.get("batch_num_images"), side)
    else:
        areas = []
    for area in areas:
        yield with_tiles(side, *area) if area else [view("image", side), _separator("image")]


def _areas_of_sizes(
    config: Any, sizes: Tensor, n_images: Tensor | None, side: int
) -> list[tuple[int, int] | None]:
    """(h, w) of the tiles of each image, None where it has company in its sample."""
    per_sample = [1] * len(sizes) if n_images is None else n_images.tolist()
    has_tiles = [n == 1 for n in per_sample for _ in range(n)]
    return [
        _area_of_size(config, size, side) if tiles else None
        for size, tiles in zip(sizes.tolist(), has_tiles, strict=True)
    ]


def _area_of_size(config: Any, size: list[int], side: int) -> tuple[int, int]:
    """(h, w) of an image's tiles without their padding, at most as many tokens as allowed."""
    height, width = area_of_size(config, size, side)
    most = int(config.vision_aspect_ratio.removeprefix("anyres_max_"))
    ratio = math.sqrt(height * width / (most * side**2))
    return (int(height // ratio), int(width // ratio)) if ratio > 1.1 else (height, width)


def _videos(core: Any, inputs: Mapping[str, Any]) -> Iterator[Layout]:
    """Frames of equal size, pooled two by two; all videos of a batch have the same number."""
    config = core.config.vision_config
    side = math.ceil(config.image_size // config.patch_size / 2)
    encoded = (inputs.get("mm_encoder_outputs") or {}).get("video")
    if encoded is not None:
        n_videos, n_tokens = encoded.pooler_output.shape[:2]
        n_frames = (n_tokens - 1) // side**2
    elif (pixels := inputs.get("pixel_values_videos")) is not None:
        n_videos, n_frames = pixels.shape[:2]
    else:
        return
    for _ in range(n_videos):
        yield [*[view("frame", side)] * n_frames, _separator("frame")]


def _separator(kind: str) -> Block:
    special = torch.ones(1, dtype=torch.bool)
    return replace(Block.full(0, 0, kind, (1, 1), 0), special=special, eligible=~special)
