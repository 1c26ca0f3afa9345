"""Qwen3-VL: interleaved M-RoPE, frames apart with their times as text, DeepStack features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..position_grids import Run
from ..vision_towers.base import VisionTower
from ..vision_towers.packed import packed_tower
from .processors import Qwen3Processor
from .qwen2_5_vl import Qwen25VL

_DEEPSTACK = ("visual_pos_masks", "deepstack_visual_embeds")
"""What Qwen3-VL's decoder takes features by: where they go `[B, S]`, and `[n, E]` a layer."""


class Qwen3VL(Qwen25VL):
    """No settings are published for it: those of Qwen2.5-VL at the same depth (inferred).

    The timestamps between the frames of a video are text, and stay.
    """

    name = "qwen3_vl"
    model_types = ("qwen3_vl",)

    def frequency_axis(self, model: Any, n: int) -> Tensor:
        """t, h, w take turns until the sections of h and w are used up; the rest is t's."""
        config: Any = self.text_model(model).config
        sections = config.rope_parameters["mrope_section"]
        axis = torch.arange(n) % 3
        return axis.masked_fill(torch.arange(n) >= 3 * torch.tensor(sections)[axis], 0)

    def _joined(self, runs: Sequence[Run], core: Any, inputs: Mapping[str, Any]) -> Sequence[bool]:
        """Frames of one video: by the videos' sizes, or else by the markup between the frames.

        A frame stands in a pair of vision marks of its own, and so does the whole video.
        """
        frames = [run.end - run.start if run.is_video else 0 for run in runs]
        sizes = _video_sizes(core, inputs)
        if sum(sizes) == sum(frames):
            ends = {0, *accumulate(sizes)}
            seen = list(accumulate(frames))
            return [
                bool(run.is_video) and before not in ends
                for before, run in zip(seen[:-1], runs[1:], strict=True)
            ]
        return [
            bool(before.is_video and run.is_video)
            and (before.sample, before.grid) == (run.sample, run.grid)
            and _marks(core, inputs, before, run) <= 1
            for before, run in pairwise(runs)
        ]

    def layer_additions(
        self, arguments: Mapping[str, Any]
    ) -> tuple[Mapping[str, Any], dict[int, Tensor]]:
        """DeepStack: features that the decoder adds to the visual tokens after its first layers."""
        mask, stacked = (arguments.get(name) for name in _DEEPSTACK)
        if mask is None or stacked is None:
            return arguments, {}
        additions = {}
        for layer, features in enumerate(stacked):
            additions[layer] = features.new_zeros(*mask.shape, features.shape[-1])
            additions[layer][mask.to(features.device)] = features
        return {**arguments, **dict.fromkeys(_DEEPSTACK)}, additions

    def vision_tower(self, core: Any) -> VisionTower:
        return packed_tower(core.visual)

    def load_processor(self, folder: Path) -> Any:
        return Qwen3Processor.from_pretrained(folder)


class Qwen3VLMoe(Qwen3VL):
    """Qwen3-VL with experts in its decoder: the same layout, attention and DeepStack."""

    name = "qwen3_vl_moe"
    model_types = ("qwen3_vl_moe",)


def _video_sizes(core: Any, inputs: Mapping[str, Any]) -> list[int]:
    """Tokens of each video, from its features or its grid; empty where neither is given."""
    encoded = (inputs.get("mm_encoder_outputs") or {}).get("video")
    if encoded is not None:
        return [len(features) for features in encoded.pooler_output]
    if (grids := inputs.get("video_grid_thw")) is None:
        return []
    patches: Tensor = grids.prod(dim=-1) // core.config.vision_config.spatial_merge_size**2
    sizes: list[int] = patches.tolist()
    return sizes


def _marks(core: Any, inputs: Mapping[str, Any], before: Run, run: Run) -> int:
    """Marks that begin something visual between two runs; 0 where the input ids are not known."""
    if (input_ids := inputs.get("input_ids")) is None:
        return 0
    between = input_ids[run.sample, before.end : run.start]
    return int((between == core.config.vision_start_token_id).sum())
