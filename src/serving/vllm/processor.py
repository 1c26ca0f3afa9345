"""vLLM's processors of pictures: fewer placeholders, and the question in a picture's identity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from prometheus_client import Counter
from vllm.multimodal.inputs import MultiModalFieldConfig
from vllm.multimodal.processing import PromptReplacement

from .frequencies import frequencies_of
from .identity import with_question
from .picture import Picture, questions
from .plan import Plan, plan_of

QUESTION = "ivcprune_question"
"""Of each picture: token ids, see `picture.questions`. Also the key of all of them in between."""

SEEN = Counter("ivcprune_visual_tokens", "Visual tokens of the pictures of all requests")
KEPT = Counter("ivcprune_kept_tokens", "Those of them that policies kept")


class PrunedInfo:
    """Mixed into vLLM's processing info: with a policy, pictures only."""

    def get_supported_mm_limits(self) -> Mapping[str, int | None]:
        limits: Mapping[str, int | None] = super().get_supported_mm_limits()  # type: ignore[misc]
        pruned = plan_of(self.get_hf_config()) is not None  # type: ignore[attr-defined]
        return {**limits, "video": 0} if pruned else limits


class PrunedProcessor:
    """Mixed into vLLM's processors; without a policy they do what they did."""

    info: Any

    @property
    def _plan(self) -> Plan | None:
        return plan_of(self.info.get_hf_config())

    @cached_property
    def _frequencies(self) -> Any:
        return frequencies_of(self.info.get_hf_config(), self._plan)

    def apply(self, inputs: Any, timing_ctx: Any) -> Any:
        """The request, its pictures shortened; counts their tokens for the server's metrics."""
        images = inputs.mm_data_items.get("image")
        if (plan := self._plan) is None or not images:
            return super().apply(inputs, timing_ctx)  # type: ignore[misc]
        token = self.info.get_hf_config().image_token_id
        asked = questions(inputs.prompt, token, len(images), plan)
        kwargs = {**inputs.hf_processor_mm_kwargs, QUESTION: asked}
        inputs = replace(inputs, hf_processor_mm_kwargs=kwargs)
        return super().apply(inputs, timing_ctx)  # type: ignore[misc]

    def _get_mm_hashes(self, inputs: Any) -> Any:
        kwargs, asked = _without_questions(inputs.hf_processor_mm_kwargs)
        plain = replace(inputs, hf_processor_mm_kwargs=kwargs)
        hashes = dict(super()._get_mm_hashes(plain))  # type: ignore[misc]
        if asked is not None:
            pairs = zip(hashes["image"], asked, strict=True)
            hashes["image"] = [with_question(own, question) for own, question in pairs]
        return hashes

    def _get_cache_missing_processor_kwargs(self, inputs: Any, mm_is_cached: Any) -> Any:
        """The questions of those pictures that are processed now."""
        kwargs, asked = _without_questions(inputs.hf_processor_mm_kwargs)
        plain = replace(inputs, hf_processor_mm_kwargs=kwargs)
        missing = super()._get_cache_missing_processor_kwargs(  # type: ignore[misc]
            plain, mm_is_cached
        )
        if asked is None:
            return missing
        pairs = zip(asked, mm_is_cached["image"], strict=True)
        return {**missing, QUESTION: [question for question, cached in pairs if not cached]}

    def _apply_hf_processor_main(self, mm_items: Any, hf_kwargs: Any) -> Any:
        kwargs, asked = _without_questions(hf_kwargs)
        data = super()._apply_hf_processor_main(mm_items, kwargs)  # type: ignore[misc]
        if asked:
            data[QUESTION] = [torch.tensor(question) for question in asked]
        return data

    def _get_mm_fields_config(self, hf_inputs: Any, hf_processor_mm_kwargs: Any) -> Any:
        kwargs, _ = _without_questions(hf_processor_mm_kwargs)
        fields = dict(super()._get_mm_fields_config(hf_inputs, kwargs))  # type: ignore[misc]
        return fields | {QUESTION: MultiModalFieldConfig.batched("image", keep_on_cpu=True)}

    def _get_prompt_updates(
        self, mm_items: Any, hf_processor_mm_kwargs: Any, out_mm_kwargs: Any
    ) -> Sequence[Any]:
        kwargs, _ = _without_questions(hf_processor_mm_kwargs)
        updates = super()._get_prompt_updates(  # type: ignore[misc]
            mm_items, kwargs, out_mm_kwargs
        )
        if (plan := self._plan) is None:
            return list(updates)
        config = self.info.get_hf_config()

        def placeholders(index: int) -> list[int]:
            item = out_mm_kwargs["image"][index]
            grid = merged_grid(item["image_grid_thw"].data, config)
            question = item[QUESTION].data.tolist()
            picture = Picture(grid, question, config.image_token_id, plan, self._frequencies)
            kept = picture.n_kept()
            SEEN.inc(picture.n_visual)
            KEPT.inc(kept)
            return [config.image_token_id] * kept

        own = PromptReplacement("image", [config.image_token_id], placeholders)
        return [update for update in updates if update.modality != "image"] + [own]


def _without_questions(kwargs: Mapping[str, Any]) -> tuple[dict[str, Any], list[list[int]] | None]:
    rest = dict(kwargs)
    return rest, rest.pop(QUESTION, None)


def merged_grid(thw: Any, config: Any) -> tuple[int, int]:
    """Rows and columns of a picture's tokens, from its grid of patches."""
    _, height, width = thw.tolist()
    merge = config.vision_config.spatial_merge_size
    return height // merge, width // merge
