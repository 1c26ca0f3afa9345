"""Families whose images lie in a grid of rotary positions (t, h, w): M-RoPE, native resolution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from .base import Family
from .blocks import Block


class Run(NamedTuple):
    """An image or a frame: a run of visual tokens, and the positions (h, w) of its corners."""

    sample: int
    start: int
    end: int
    is_video: int
    top: int
    left: int
    bottom: int
    right: int

    @property
    def grid(self) -> tuple[int, int]:
        return self.bottom - self.top + 1, self.right - self.left + 1


class PositionGrids(Family):
    """One row per image and per video frame, found by their position ids."""

    rotary_axes = 3

    def frequency_axis(self, model: Any, n: int) -> Tensor:
        """M-RoPE turns consecutive sections of the frequencies with t, h and w."""
        decoder: Any = self.text_model(model)
        sections = decoder.config.rope_parameters.get("mrope_section")
        if sections is None:
            sections = decoder.rotary_emb.mrope_section  # the default of the architecture
        return torch.arange(len(sections)).repeat_interleave(torch.tensor(sections))

    def token_kinds(self, config: Any, inputs: Mapping[str, Any]) -> Tensor:
        """0 for text, 1 for image and 2 for video tokens, long `[B, S]`."""
        if (input_ids := inputs.get("input_ids")) is not None:
            is_image = (input_ids == config.image_token_id).long()
            return is_image + 2 * (input_ids == config.video_token_id)
        return cast(Tensor, inputs["mm_token_type_ids"])

    def blocks(self, core: Any, inputs: Mapping[str, Any], positions: Tensor) -> list[Block]:
        """Images and frames, found by their position ids.

        Grids are read from the positions, not from `image_grid_thw`: `generate` encodes the images
        beforehand and passes no grids, and beams repeat the sequences but not the grids.
        """
        runs = _runs(self.token_kinds(core.config, inputs), positions[-2:])
        if not runs:
            return []
        joined = [False, *self._joined(runs, core, inputs)]
        blocks: list[Block] = []
        image, sample = -1, -1
        for run, continues in zip(runs, joined, strict=True):
            if run.grid[0] * run.grid[1] != run.end - run.start:
                raise ValueError(
                    f"{run.end - run.start} visual tokens of sample {run.sample} have position ids "
                    f"of a {run.grid[0]} x {run.grid[1]} grid, so the model fell back to 1-D "
                    "positions: pass mm_token_type_ids and the grids as the processor returns "
                    "them, and input_ids, beside inputs_embeds too; in a later turn, call generate "
                    "with the whole conversation or pass position_ids"
                )
            if run.sample != sample:
                image, sample = -1, run.sample
            image += not continues
            kind = "frame" if run.is_video else "image"
            blocks.append(Block.full(run.sample, image, kind, run.grid, run.start))
        return blocks

    def _joined(self, runs: Sequence[Run], core: Any, inputs: Mapping[str, Any]) -> Sequence[bool]:
        """For each run but the first, whether it is one more frame of the video before it."""
        return [
            bool(run.is_video) and (run.sample, run.start) == (before.sample, before.end)
            for before, run in pairwise(runs)
        ]

    def limit_pixels(self, processor: Any, minimum: int | None, maximum: int | None) -> None:
        limits = {"shortest_edge": minimum, "longest_edge": maximum}
        size = dict(processor.image_processor.size)
        # Areas, in spite of their names: so this family's image processors call their limits.
        processor.image_processor.size = size | {k: v for k, v in limits.items() if v}

    def input_sizes(self, inputs: Mapping[str, Any], processor: Any) -> list[tuple[int, int]]:
        patch = processor.image_processor.patch_size
        return [(w * patch, h * patch) for _, h, w in inputs["image_grid_thw"].tolist()]


def _runs(kinds: Tensor, positions: Tensor) -> list[Run]:
    """Images and frames, in input order.

    Within a block the positions (h, w) ascend in raster order, so a new block begins where they do
    not, or where the kind of token changes.

    Args:
        kinds: long `[B, S]`, see `PositionGrids.token_kinds`.
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
    return [Run(*row) for row in torch.stack(columns, dim=1).tolist()]
