"""vLLM's models with pictures pruned at the input; without a policy they are as they were."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from vllm.model_executor.layers.rotary_embedding import get_rope
from vllm.model_executor.models import qwen2_5_vl, qwen2_vl, qwen3_vl
from vllm.multimodal import MULTIMODAL_REGISTRY

from .frequencies import frequencies_of
from .picture import Picture
from .plan import Plan, plan_of
from .positions import prompt_positions, split_places, with_places
from .processor import QUESTION, PrunedInfo, PrunedProcessor, merged_grid
from .selection import kept_tokens

VISION_BASE = 10000.0
"""Of the vision tower's rotary embedding: written into vLLM's code."""


class PrunedPictures:
    """Mixed into vLLM's Qwen-VL models."""

    config: Any
    visual: Any
    language_model: Any

    def __init__(self, *, vllm_config: Any, prefix: str = "") -> None:
        config = vllm_config.model_config.hf_config
        plan = plan_of(config)  # before any weight: it may refuse
        super().__init__(vllm_config=vllm_config, prefix=prefix)  # type: ignore[call-arg]
        self.ivcprune_plan: Plan | None = plan
        if plan is None:
            return
        self._frequencies = frequencies_of(config, plan)
        self._n_levels = len(getattr(config.vision_config, "deepstack_visual_indexes", ()))
        _mend_vision_rotary(self.visual, config.vision_config)
        longest = vllm_config.scheduler_config.max_num_batched_tokens
        # As vLLM's own buffers, so that captured graphs read what the next step writes.
        self._places = torch.zeros(3, longest, dtype=torch.long, device=_device_of(vllm_config))

    def embed_multimodal(self, **kwargs: Any) -> Any:
        """Embeddings of the tokens that stay, with their places in channels of their own."""
        asked = kwargs.pop(QUESTION, None)
        if (plan := self.ivcprune_plan) is None:
            return super().embed_multimodal(**kwargs)  # type: ignore[misc]
        grids = kwargs["image_grid_thw"]
        pictures = super().embed_multimodal(**kwargs)  # type: ignore[misc]
        kept = []
        for features, thw, question in zip(pictures, grids, asked, strict=True):
            grid, token = merged_grid(thw, self.config), self.config.image_token_id
            picture = Picture(grid, question.tolist(), token, plan, self._frequencies)
            kept.append(self._pruned(picture, features))
        return tuple(kept)

    def _pruned(self, picture: Picture, features: Tensor) -> Tensor:
        text = self.language_model.model.embed_input_ids(picture.ids.to(features.device))
        layers = self.language_model.model.layers
        index = kept_tokens(picture, features, text, layers, self._n_levels)
        places = picture.relative.to(index.device)[index]
        return with_places(features[index], places)

    def embed_input_ids(
        self,
        input_ids: Tensor,
        multimodal_embeddings: Sequence[Tensor] | None = None,
        *,
        is_multimodal: Tensor | None = None,
    ) -> Tensor:
        """Input embeddings of a step; puts the places of its visual tokens aside for `forward`."""
        if self.ivcprune_plan is not None:
            self._places.zero_()
            if multimodal_embeddings is not None and len(multimodal_embeddings):
                assert is_multimodal is not None
                parts = [split_places(rows) for rows in multimodal_embeddings]
                multimodal_embeddings = tuple(rows for rows, _ in parts)
                places = torch.cat([place for _, place in parts])
                self._put_aside(places, is_multimodal)
        embeddings: Tensor = super().embed_input_ids(  # type: ignore[misc]
            input_ids, multimodal_embeddings, is_multimodal=is_multimodal
        )
        return embeddings

    def _put_aside(self, places: Tensor, is_multimodal: Tensor) -> None:
        mask = is_multimodal.to(self._places.device)
        for axis, values in enumerate(places.T, start=1):  # rows and columns are axes h and w
            self._places[axis, : len(mask)].masked_scatter_(mask, values.contiguous())

    def forward(self, input_ids: Any, positions: Tensor, *args: Any, **kwargs: Any) -> Any:
        """A step, its visual tokens at the positions that they had in the whole picture."""
        if self.ivcprune_plan is not None:
            positions = positions + self._places[:, : positions.shape[-1]]
        return super().forward(input_ids, positions, *args, **kwargs)  # type: ignore[misc]

    def get_mrope_input_positions(self, input_tokens: Any, mm_features: Any) -> tuple[Tensor, int]:
        """Positions of a prompt: text exactly, visual tokens at the start of their picture."""
        if self.ivcprune_plan is None:
            given: tuple[Tensor, int] = super().get_mrope_input_positions(  # type: ignore[misc]
                input_tokens, mm_features
            )
            return given
        pictures = [
            (
                feature.mm_position.offset,
                feature.mm_position.length,
                max(merged_grid(feature.data["image_grid_thw"].data, self.config)),
            )
            for feature in sorted(mm_features, key=lambda feature: feature.mm_position.offset)
        ]
        return prompt_positions(len(input_tokens), pictures)


def _device_of(vllm_config: Any) -> torch.device:
    return torch.device(vllm_config.device_config.device)


def _mend_vision_rotary(visual: Any, config: Any) -> None:
    """vLLM gives every vision tower the same rotary base; some checkpoints have another."""
    base = (getattr(config, "rope_parameters", None) or {}).get("rope_theta", VISION_BASE)
    if base != VISION_BASE:
        visual.rotary_pos_emb = get_rope(
            head_size=getattr(config, "embed_dim", config.hidden_size) // config.num_heads,
            max_position=8192,
            is_neox_style=True,
            rope_parameters={"partial_rotary_factor": 0.5, "rope_theta": base},
        )


class Qwen2Info(PrunedInfo, qwen2_vl.Qwen2VLProcessingInfo):
    pass


class Qwen25Info(PrunedInfo, qwen2_5_vl.Qwen2_5_VLProcessingInfo):
    pass


class Qwen3Info(PrunedInfo, qwen3_vl.Qwen3VLProcessingInfo):
    pass


class Qwen2Processor(PrunedProcessor, qwen2_vl.Qwen2VLMultiModalProcessor):
    pass


class Qwen25Processor(PrunedProcessor, qwen2_5_vl.Qwen2_5_VLMultiModalProcessor):
    pass


class Qwen3Processor(PrunedProcessor, qwen3_vl.Qwen3VLMultiModalProcessor):
    pass


@MULTIMODAL_REGISTRY.register_processor(
    Qwen2Processor, info=Qwen2Info, dummy_inputs=qwen2_vl.Qwen2VLDummyInputsBuilder
)
class PrunedQwen2VL(PrunedPictures, qwen2_vl.Qwen2VLForConditionalGeneration):
    """Qwen2-VL."""


@MULTIMODAL_REGISTRY.register_processor(
    Qwen25Processor, info=Qwen25Info, dummy_inputs=qwen2_5_vl.Qwen2_5_VLDummyInputsBuilder
)
class PrunedQwen25VL(PrunedPictures, qwen2_5_vl.Qwen2_5_VLForConditionalGeneration):
    """Qwen2.5-VL."""


@MULTIMODAL_REGISTRY.register_processor(
    Qwen3Processor, info=Qwen3Info, dummy_inputs=qwen3_vl.Qwen3VLDummyInputsBuilder
)
class PrunedQwen3VL(PrunedPictures, qwen3_vl.Qwen3VLForConditionalGeneration):
    """Qwen3-VL."""
