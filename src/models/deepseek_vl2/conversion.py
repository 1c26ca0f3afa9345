"""Names and shapes of the published weights, in the terms of transformers' weight loader.

Loading converts them as they stream in; saving converts back, so that a saved checkpoint has the
published names again, without SigLIP's pooling head, which the model does not have.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers.core_model_loading import (
    Chunk,
    Concatenate,
    ConversionOps,
    MergeModulelist,
    WeightConverter,
    WeightRenaming,
)

Transform = WeightConverter | WeightRenaming


class DropBatchAxis(ConversionOps):
    """`[1, ...]` as `[...]`."""

    def convert(
        self,
        input_dict: dict[str, Any],
        source_patterns: list[str],
        target_patterns: list[str],
        **kwargs: Any,
    ) -> dict[str, Any]:
        return {target_patterns[0]: _only(input_dict).squeeze(0)}

    @property
    def reverse_op(self) -> ConversionOps:
        return AddBatchAxis()


class AddBatchAxis(ConversionOps):
    """`[...]` as `[1, ...]`."""

    def convert(
        self,
        input_dict: dict[str, Any],
        source_patterns: list[str],
        target_patterns: list[str],
        **kwargs: Any,
    ) -> dict[str, Any]:
        return {target_patterns[0]: _only(input_dict).unsqueeze(0)}

    @property
    def reverse_op(self) -> ConversionOps:
        return DropBatchAxis()


def _only(tensors: dict[str, Any]) -> Tensor:
    (tensor,) = tensors.values()
    only: Tensor = tensor[0] if isinstance(tensor, list) else tensor
    return only


def published_weights() -> list[Transform]:
    """Renamings and conversions from the published names to those of the model."""
    return [
        WeightRenaming(r"^vision\.", "model.vision_tower."),
        WeightRenaming(r"^projector\.", "model.projector."),
        WeightRenaming(r"^image_newline", "model.image_newline"),
        WeightRenaming(r"^view_seperator", "model.view_seperator"),
        WeightRenaming(r"^language\.model\.", "model.language_model."),
        WeightRenaming(r"^language\.lm_head\.", "lm_head."),
        *(_within("vision_tower", transform) for transform in _vision()),
        *(_within("language_model", transform) for transform in _experts()),
    ]


def _vision() -> list[Transform]:
    projections = [".self_attn.q_proj", ".self_attn.k_proj", ".self_attn.v_proj"]
    return [
        WeightRenaming(r"^patch_embed\.proj\.", "embeddings.patch_embedding."),
        WeightRenaming(r"^norm\.", "post_layernorm."),
        WeightRenaming(r"^blocks\.", "encoder.layers."),
        WeightRenaming(r"\.norm(1|2)\.", r".layer_norm\1."),
        WeightRenaming(r"\.attn\.proj\.", ".self_attn.out_proj."),
        WeightConverter("pos_embed", "embeddings.position_embedding.weight", [DropBatchAxis()]),
        *(
            WeightConverter(f".attn.qkv.{kind}", [f"{p}.{kind}" for p in projections], [Chunk()])
            for kind in ("weight", "bias")
        ),
    ]


def _experts() -> list[Transform]:
    """The experts of a layer, stacked."""
    gate_and_up = ["mlp.experts.*.gate_proj.weight", "mlp.experts.*.up_proj.weight"]
    return [
        WeightConverter(
            gate_and_up, "mlp.experts.gate_up_proj", [MergeModulelist(), Concatenate(dim=1)]
        ),
        WeightConverter(
            "mlp.experts.*.down_proj.weight", "mlp.experts.down_proj", [MergeModulelist()]
        ),
    ]


def _within(module: str, transform: Transform) -> Transform:
    """Limited to the weights of a part of the model, since both parts have a `q_proj`."""
    transform.scope_prefix, transform.base_model_prefix = module, "model"
    return transform
