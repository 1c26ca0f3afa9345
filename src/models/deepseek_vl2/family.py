"""DeepSeek-VL2: a thumbnail, a separator, then the lines of all tiles of an image."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..base import Family
from ..blocks import Block, is_visual
from ..rotary import Rotary
from ..vision_towers.base import VisionTower
from ..vision_towers.batched import canvas_tower
from .image_processing import DeepseekVL2ImageProcessor
from .layout import image_blocks
from .processing import DeepseekVL2Processor
from .tiling import Grid

PUBLISHED_LAYERS = {27: 17}
"""Selection layer by depth, as published: Small."""


class DeepseekVL2(Family):
    """Three rows per image: the thumbnail, the separator, and the canvas of all tiles.

    The lines of the canvas run across its tiles, so `Per("line", ...)` speaks of lines as the
    model sees them. Small caches latents (multi-head latent attention), Tiny plain keys and values.
    """

    name = "deepseek_vl2"
    model_types = ("deepseek_vl_v2",)
    text_skip = 1
    spare_layers = (0,)

    def default_layer(self, depth: int) -> int:
        """As published for 27 layers; else 17/27 of the depth (inferred)."""
        return PUBLISHED_LAYERS.get(depth, max(1, round(depth * 17 / 27)))

    # Layout ------------------------------------------------------------------------------------

    def blocks(self, core: Any, inputs: Mapping[str, Any], positions: Tensor) -> list[Block]:
        """Images are runs of image tokens, whose length tells their tiles.

        The letterbox follows from `image_sizes`, which `generate` passes on and repeats with the
        sequences for beams. Without it the picture is taken to fill the whole canvas.
        """
        config = core.config
        sizes = _sizes(inputs.get("image_sizes"))
        blocks: list[Block] = []
        image, previous = -1, -1
        runs = _runs(is_visual(inputs, config.image_token_id))
        n_images = [sum(sample == run[0] for run in runs) for sample in range(len(positions[0]))]
        for sample, start, length in runs:
            image = image + 1 if sample == previous else 0
            previous = sample
            grid = _grid(length, config)
            # a later turn of a conversation brings the sizes of earlier images along
            known = sizes[sample][-n_images[sample] :] if sizes else []
            size = known[image] if known else None
            blocks += image_blocks(sample, image, start, grid, size, config.geometry)
        return blocks

    def input_sizes(self, inputs: Mapping[str, Any], processor: Any) -> list[tuple[int, int]]:
        """Sizes of the original images: boxes are fractions of those."""
        return [size for sample in _sizes(inputs["image_sizes"]) for size in sample]

    def image_tokens(self, processor: Any, size: tuple[int, int], n_images: int) -> int:
        images: DeepseekVL2ImageProcessor = processor.image_processor
        grids = images.grids_of([size] * n_images)
        return sum(map(images.geometry.token_count, grids))

    def vision_tower(self, core: Any) -> VisionTower:
        layers = [layer.self_attn for layer in core.vision_tower.encoder.layers]
        return canvas_tower(core, layers, core.config.vision_config.patch_size)

    # Attention ---------------------------------------------------------------------------------

    def cached_values(self, layer: Any, keys: Tensor, values: Tensor) -> Tensor:
        if _is_latent(layer):
            return cast(Tensor, layer.self_attn.expand_kv(keys, values)[1])
        return values

    def cached_keys(self, layer: Any, keys: Tensor, values: Tensor) -> Tensor:
        if _is_latent(layer):
            return cast(Tensor, layer.self_attn.expand_kv(keys, values)[0])
        return keys

    def queries(self, layer: Any, hidden: Tensor, rotary: Rotary | None) -> Tensor:
        if not _is_latent(layer):
            return super().queries(layer, hidden, rotary)
        attention = layer.self_attn
        hidden = layer.input_layernorm(hidden)
        if attention.q_lora_rank is None:
            states = attention.q_proj(hidden)
        else:
            states = attention.q_b_proj(attention.q_a_layernorm(attention.q_a_proj(hidden)))
        states = states.unflatten(-1, (-1, attention.qk_head_dim)).transpose(1, 2)
        plain, turning = states.split([attention.qk_nope_head_dim, attention.qk_rope_head_dim], -1)
        return torch.cat([plain, rotate_pairs(turning, rotary)], dim=-1)

    def keys(self, layer: Any, hidden: Tensor, rotary: Rotary | None) -> Tensor:
        if not _is_latent(layer):
            return super().keys(layer, hidden, rotary)
        latent, turning = _latents(layer, hidden)
        return cast(Tensor, layer.self_attn.expand_kv(latent, rotate_pairs(turning, rotary))[0])

    def values(self, layer: Any, hidden: Tensor) -> Tensor:
        if not _is_latent(layer):
            return super().values(layer, hidden)
        # values come from the latent alone, whatever the keys' turning part is
        return cast(Tensor, layer.self_attn.expand_kv(*_latents(layer, hidden))[1])

    # Loading -----------------------------------------------------------------------------------

    def load_processor(self, folder: Path) -> Any:
        return DeepseekVL2Processor.from_pretrained(folder)


def rotate_pairs(states: Tensor, rotary: Rotary | None) -> Tensor:
    """Rotary embedding of neighbouring dimensions (2k, 2k + 1), as DeepSeek-V2 turns them.

    Args:
        states: `[B, H, Q, R]`.
        rotary: complex rotations `[B, Q, R / 2]`; None leaves the states as they are.
    """
    if rotary is None:
        return states
    if not isinstance(rotary, Tensor):
        raise TypeError("the rotary embedding of latent attention is one complex tensor, not two")
    pairs = torch.view_as_complex(states.float().unflatten(-1, (-1, 2)).contiguous())
    turned = torch.view_as_real(pairs * rotary[:, None].to(pairs.device)).flatten(-2)
    return turned.to(states.dtype)


def _is_latent(layer: Any) -> bool:
    """Multi-head latent attention: the cache holds latents and a shared rotated key."""
    return hasattr(layer.self_attn, "expand_kv")


def _latents(layer: Any, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Latents `[B, 1, S, C]` and unrotated shared keys `[B, 1, S, R]` at `hidden` `[B, S, E]`."""
    attention = layer.self_attn
    states = attention.kv_a_proj_with_mqa(layer.input_layernorm(hidden))[:, None]
    latent, turning = states.split([attention.kv_lora_rank, attention.qk_rope_head_dim], -1)
    return attention.kv_a_layernorm(latent), turning


def _sizes(image_sizes: Tensor | None) -> list[list[tuple[int, int]]]:
    """(width, height) of each sample's images, from (height, width) with zeros for none."""
    if image_sizes is None:
        return []
    return [[(w, h) for h, w in sample if w * h] for sample in image_sizes.tolist()]


def _runs(mask: Tensor) -> list[list[int]]:
    """(sample, start, length) of each run of True in `[B, S]`, in input order."""
    edges = nn.functional.pad(mask, (1, 1)).long().diff(dim=1)
    starts, ends = (edges == 1).nonzero(), (edges == -1).nonzero()
    lengths = ends[:, 1] - starts[:, 1]
    runs: list[list[int]] = torch.cat([starts, lengths[:, None]], dim=1).tolist()
    return runs


def _grid(length: int, config: Any) -> Grid:
    """The tiles of an image with that many visual tokens."""
    count = config.geometry.token_count
    fitting: list[Grid] = [grid for grid in config.grids if count(grid) == length]
    if len(fitting) != 1:
        raise ValueError(
            f"input_ids hold {length} image tokens in a row, which {len(fitting) or 'no'} tile "
            "layouts of one image have: pass input_ids as the processor returns them, with some "
            "text between images"
        )
    return fitting[0]
