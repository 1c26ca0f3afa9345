"""Towers of the CLIP kind: pictures of one size as a batch, perhaps with a class token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from ...tokens.signals import VisionDepth
from .base import AttentionInput, Grid, TowerCall, VisionTower
from .places import CanvasLayout, Layout
from .received import Received, received


class BatchedTower(VisionTower):
    """Pictures `[n, C, H, W]` become patches `[n, P, E]` in raster order."""

    def __init__(
        self,
        tower: nn.Module,
        projector: nn.Module,
        attention: Mapping[VisionDepth, nn.Module],
        *,
        patch_size: tuple[int, int],
        merge: int,
        layout: Layout,
        class_token: bool,
    ) -> None:
        """See `VisionTower`.

        Args:
            patch_size: height and width of a patch, in pixels.
            class_token: whether one stands before the patches; the projector does not see it.
        """
        super().__init__(tower, projector, attention, merge, layout)
        self._patch_size, self._class_token = patch_size, class_token

    def grids(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Grid]:
        pixels: Tensor = args[0] if args else kwargs["pixel_values"]
        n, _, height, width = pixels.shape
        return [(height // self._patch_size[0], width // self._patch_size[1])] * n

    def features(self, call: TowerCall, projected: Tensor) -> Tensor:
        # channels of merged patches stand one behind the other
        return projected.unflatten(-1, (self.merge**2, -1)).mean(dim=-2).flatten(0, 1)

    def received(self, call: TowerCall, layer: Any, given: AttentionInput) -> Received:
        queries = self._heads(layer, layer.q_proj(given.hidden), "q_norm")
        keys = self._heads(layer, layer.k_proj(given.hidden), "k_norm")
        scores = received(queries, keys, layer.scale, class_token=self._class_token)
        return scores.each(lambda x: self._merged(call, x[..., None])[:, 0])

    def keys(self, call: TowerCall, layer: Any, given: AttentionInput, rope: bool) -> Tensor:
        keys = self._heads(layer, layer.k_proj(given.hidden), "k_norm").transpose(1, 2)
        patches = keys[:, int(self._class_token) :].flatten(2)
        return self._merged(call, patches).unflatten(-1, keys.shape[2:])

    def _merged(self, call: TowerCall, patches: Tensor) -> Tensor:
        """Patches `[n, P, E]` as tokens `[T, E]`; at the edge, squares may be incomplete."""
        images = patches.transpose(1, 2).unflatten(2, call.grids[0])
        pooled = nn.functional.avg_pool2d(images, self.merge, ceil_mode=True)
        return pooled.flatten(2).transpose(1, 2).flatten(0, 1)

    @staticmethod
    def _heads(layer: Any, states: Tensor, norm: str) -> Tensor:
        """`[n, H, P, D]`; towers that normalise do so before they split the heads."""
        if hasattr(layer, norm):
            states = getattr(layer, norm)(states)
        return states.unflatten(-1, (layer.num_heads, layer.head_dim)).transpose(1, 2)


class CanvasTower(BatchedTower):
    """SigLIP as DeepSeek-VL2 has it: tiles, and a projector that merges the patches itself."""

    def features(self, call: TowerCall, projected: Tensor) -> Tensor:
        return self._merged(call, projected)


def canvas_tower(core: Any, layers: Sequence[nn.Module], patch_size: int) -> CanvasTower:
    """A tower without class token, of a core with `vision_tower` and `projector`.

    Early is at 5/24 of the depth, as in LLaVA-1.5 (inferred); late is the last layer, whose output
    the projector takes.

    Args:
        layers: the attention of each of the tower's layers.
        patch_size: side of a patch, in pixels.
    """
    return CanvasTower(
        core.vision_tower,
        core.projector,
        {"early": layers[len(layers) * 5 // 24], "late": layers[-1]},
        patch_size=(patch_size, patch_size),
        merge=core.config.downsample_ratio,
        layout=CanvasLayout(side=core.config.geometry.side),
        class_token=False,
    )


def class_token_tower(
    core: Any, layers: Sequence[nn.Module], patch_size: tuple[int, int], merge: int = 1
) -> BatchedTower:
    """A tower of the CLIP kind with a class token, as LLaVA-1.5 and InternVL have it.

    Early is layer 5 of 24 (VScan on LLaVA-1.5), 5/24 of the depth in other towers (inferred). Late
    is the layer whose output the projector takes, which is VScan's -2 in LLaVA-1.5.

    Args:
        core: with `vision_tower` and `multi_modal_projector`.
        layers: the attention of each of the tower's layers.
        patch_size: height and width of a patch, in pixels.
        merge: side of the square of patches that become one token.

    Raises:
        ValueError: the projector takes several layers, or the class token as well.
    """
    number = core.config.vision_feature_layer
    strategy = core.config.vision_feature_select_strategy
    if not isinstance(number, int) or strategy != "default":
        raise ValueError(
            f"vision_feature_layer={number} with vision_feature_select_strategy={strategy!r}: "
            "signals of the vision tower are offered for one layer and 'default'"
        )
    late = number if number < 0 else number - 1  # 0 are the embeddings
    return BatchedTower(
        core.vision_tower,
        core.multi_modal_projector,
        {"early": layers[len(layers) * 5 // 24], "late": layers[late]},
        patch_size=patch_size,
        merge=merge,
        layout=Layout(),
        class_token=True,
    )
