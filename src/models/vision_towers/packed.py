"""Towers of the Qwen-VL kind: pictures of any size, their patches packed into one sequence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers.vision_utils import get_vision_window_index

from ...tokens.signals import VisionDepth
from ..rotary import rotate
from .base import AttentionInput, Grid, TowerCall, VisionTower
from .places import Layout
from .received import Received, received_in_segments


class PackedTower(VisionTower):
    """No class token. The patches of a token stand together; each frame is a picture."""

    def __init__(self, tower: Any, early: int, late: int) -> None:
        """A tower with `blocks`, a `merger` and a `spatial_merge_size`.

        Args:
            tower: called with `grid_thw`.
            early, late: blocks that selectors ask about, 0-based.
        """
        layers: dict[VisionDepth, nn.Module] = {
            "early": tower.blocks[early].attn,
            "late": tower.blocks[late].attn,
        }
        super().__init__(tower, tower.merger, layers, tower.spatial_merge_size, Layout(apart=True))

    def grids(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Grid]:
        _, grid_thw = (*args, kwargs.get("grid_thw"))[:2]
        sizes: list[list[int]] = grid_thw.tolist()
        return [(height, width) for frames, height, width in sizes for _ in range(frames)]

    def features(self, call: TowerCall, projected: Tensor) -> Tensor:
        merged = projected.unflatten(0, (-1, self.merge**2)).mean(dim=1)
        return self._in_input_order(call, merged)

    def received(self, call: TowerCall, layer: Any, given: AttentionInput) -> Received:
        queries, keys = (_rotated(x, given) for x in _projections(layer, given)[:2])
        lengths: list[int] = given.arguments["cu_seqlens"].diff().tolist()
        patches = received_in_segments(queries, keys, lengths, layer.scaling)
        return patches.each(
            lambda x: self._in_input_order(call, x.view(-1, self.merge**2).mean(dim=1))
        )

    def keys(self, call: TowerCall, layer: Any, given: AttentionInput, rope: bool) -> Tensor:
        keys = _projections(layer, given)[1]
        if rope:
            keys = _rotated(keys, given)
        merged = keys.transpose(0, 1).unflatten(0, (-1, self.merge**2)).mean(dim=1)
        return self._in_input_order(call, merged)

    def _in_input_order(self, call: TowerCall, tokens: Tensor) -> Tensor:
        """Tokens `[T, ...]` from the tower's own order."""
        return tokens


def _projections(layer: Any, given: AttentionInput) -> tuple[Tensor, ...]:
    """Queries, keys and values, `[H, P, D]` each."""
    states: Tensor = layer.qkv(given.hidden).unflatten(-1, (3, layer.num_heads, -1))
    return states.permute(1, 2, 0, 3).unbind()


def _rotated(states: Tensor, given: AttentionInput) -> Tensor:
    cos, sin = given.arguments["position_embeddings"]
    return rotate(states[None], (cos[None], sin[None]))[0]


class WindowedTower(PackedTower):
    """A tower that sorts the tokens by windows first, and back after its projector (Qwen2.5-VL)."""

    def __init__(self, tower: Any, early: int, late: int) -> None:
        super().__init__(tower, early, late)
        self._window, self._patch = tower.window_size, tower.patch_size

    def _in_input_order(self, call: TowerCall, tokens: Tensor) -> Tensor:
        # windows lie within a frame, so frames may pass as images
        grids = torch.tensor([(1, *grid) for grid in call.grids])
        order, _ = get_vision_window_index(grids, self.merge, self._window, self._patch)
        return tokens[order.argsort().to(tokens.device)]


def windowed_tower(tower: Any) -> WindowedTower:
    """Early and late are the first and the last block that attend to the whole picture (VScan)."""
    blocks = list(tower.fullatt_block_indexes)
    if not blocks:
        raise ValueError(
            "fullatt_block_indexes of the vision tower is empty: attention received in the whole "
            "picture needs a block with full attention"
        )
    return WindowedTower(tower, blocks[0], blocks[-1])


def packed_tower(tower: Any) -> PackedTower:
    """Every block attends to the whole picture; early is at Qwen2.5-VL's relative depth.

    That is block 7 of 32, and 7/31 of the way to the last block otherwise (inferred: VScan speaks
    of Qwen2.5-VL alone).
    """
    last = len(tower.blocks) - 1
    return PackedTower(tower, last * 7 // 31, last)
