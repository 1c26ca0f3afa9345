"""Qwen2.5-VL: native resolution, M-RoPE with the axes (t, h, w), images and videos."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from .base import Block, Family
from .processors import ImageTextProcessor

PUBLISHED_LAYERS = {28: 16, 36: 22, 64: 35}
"""Selection layer by depth, as published: 7B, 3B, 32B."""


class Qwen25VL(Family):
    """One row per image and per video frame (of `temporal_patch_size` pictures each)."""

    name = "qwen2_5_vl"
    model_types = ("qwen2_5_vl",)
    rotary_axes = 3

    def core(self, model: Any) -> nn.Module:
        return cast(nn.Module, model.model if hasattr(model, "lm_head") else model)

    def text_model(self, model: Any) -> nn.Module:
        return cast(nn.Module, self.core(model).language_model)

    def default_layer(self, depth: int) -> int:
        """As published for 28, 36 and 64 layers; else 16/28 of the depth."""
        return PUBLISHED_LAYERS.get(depth, max(1, round(depth * 16 / 28)))

    def frequency_axis(self, model: Any, n: int) -> Tensor:
        """M-RoPE turns consecutive sections of the frequencies with t, h and w."""
        config: Any = self.text_model(model).config
        sections = config.rope_parameters["mrope_section"]
        return torch.arange(len(sections)).repeat_interleave(torch.tensor(sections))

    def blocks(self, core: Any, inputs: Mapping[str, Any], positions: Tensor) -> list[Block]:
        """Images and frames, found by their position ids.

        Grids are read from the positions, not from `image_grid_thw`: `generate` encodes the images
        beforehand and passes no grids, and beams repeat the sequences but not the grids.
        """
        kinds = _token_kinds(core.config, inputs)
        blocks: list[Block] = []
        image, previous = -1, (-1, -1)
        for sample, start, end, is_video, *corners in _runs(kinds, positions[-2:]):
            top, left, bottom, right = corners
            grid = (bottom - top + 1, right - left + 1)
            if grid[0] * grid[1] != end - start:
                raise ValueError(
                    f"{end - start} visual tokens of sample {sample} have position ids of a "
                    f"{grid[0]} x {grid[1]} grid: pass mm_token_type_ids and the grids as the "
                    "processor returns them, without them the model falls back to 1-D positions"
                )
            if sample != previous[0]:
                image = -1
            continues = is_video and previous == (sample, start)
            image += not continues
            previous = (sample, end)
            kind = "frame" if is_video else "image"
            blocks.append(Block.full(sample, image, kind, grid, start))
        return blocks

    def load_processor(self, folder: Path) -> Any:
        return ImageTextProcessor.from_pretrained(folder)

    def limit_pixels(self, processor: Any, minimum: int | None, maximum: int | None) -> None:
        limits = {"shortest_edge": minimum, "longest_edge": maximum}
        size = dict(processor.image_processor.size)
        # Areas, in spite of their names: so this family's image processors call their limits.
        processor.image_processor.size = size | {k: v for k, v in limits.items() if v}

    def input_sizes(self, inputs: Mapping[str, Any], processor: Any) -> list[tuple[int, int]]:
        patch = processor.image_processor.patch_size
        return [(w * patch, h * patch) for _, h, w in inputs["image_grid_thw"].tolist()]


def _token_kinds(config: Any, inputs: Mapping[str, Any]) -> Tensor:
    """0 for text, 1 for image and 2 for video tokens, long `[B, S]`."""
    if (input_ids := inputs.get("input_ids")) is not None:
        is_image = (input_ids == config.image_token_id).long()
        return is_image + 2 * (input_ids == config.video_token_id)
    return cast(Tensor, inputs["mm_token_type_ids"])


def _runs(kinds: Tensor, positions: Tensor) -> list[list[int]]:
    """One entry per image or frame: sample, start, end, is_video, top, left, bottom, right.

    Within a block the positions (h, w) ascend in raster order, so a new block begins where they do
    not, or where the kind of token changes.

    Args:
        kinds: long `[B, S]`, see `_token_kinds`.
        positions: h and w, long `[2, B, S]`.
    """
    height, width = positions
    raster = height * (width.amax() + 1) + width
    breaks = (kinds[:, 1:] != kinds[:, :-1]) | (raster[:, 1:] <= raster[:, :-1])
    edge = torch.ones_like(breaks[:, :1])
    is_first = (kinds > 0) & torch.cat([edge, breaks], dim=1)
    is_last = (kinds > 0) & torch.cat([breaks, edge], dim=1)
    (sample, start), (_, last) = is_first.nonzero().T, is_last.nonzero().T
    columns = [
        sample,
        start,
        last + 1,
        (kinds[sample, start] == 2).long(),
        *positions[:, sample, start],
        *positions[:, sample, last],
    ]
    return torch.stack(columns, dim=1).tolist()
