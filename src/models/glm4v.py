"""GLM-4.1V, 4.5V and 4.6V: native resolution, partial M-RoPE, frames apart with their times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

from torch import Tensor
from transformers import Glm4vProcessor

from .position_grids import PositionGrids, Run
from .rotary import Rotary, rotate, rotate_pairs


class GlmProcessor(Glm4vProcessor):
    """`Glm4vProcessor` for images and text; loads any checkpoint of these families.

    The signature lists what is loaded: without a `video_processor` parameter `from_pretrained`
    does not look for the stock one, which needs torchvision.
    """

    def __init__(
        self,
        image_processor: Any = None,
        tokenizer: Any = None,
        chat_template: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(image_processor, tokenizer, None, chat_template=chat_template, **kwargs)


class Glm4v(PositionGrids):
    """One row per image and per video frame; frames use the image token between video marks.

    Nothing is published for it: the share of Qwen2.5-VL-7B's layer is taken (inferred). The times
    between the frames of a video are text, and stay.
    """

    name = "glm4v"
    model_types = ("glm4v", "glm4v_moe", "glm46v")

    def default_layer(self, depth: int) -> int:
        """16/28 of the depth (inferred)."""
        return max(1, round(depth * 16 / 28))

    def rotate(self, attention: Any, states: Tensor, rotary: Rotary | None) -> Tensor:
        """The dense decoders turn neighbouring dimensions, those with experts turn halves.

        A GLM-4.6V may have either: its text model tells, the wrapper does not.
        """
        dense = attention.config.model_type == "glm4v_text"
        return (rotate_pairs if dense else rotate)(states, rotary)

    def token_kinds(self, config: Any, inputs: Mapping[str, Any]) -> Tensor:
        """0 for text, 1 for image tokens, 2 for those between the marks of a video."""
        if (input_ids := inputs.get("input_ids")) is None:
            return cast(Tensor, inputs["mm_token_type_ids"])
        opened = (input_ids == config.video_start_token_id).cumsum(dim=1)
        closed = (input_ids == config.video_end_token_id).cumsum(dim=1)
        is_image = (input_ids == config.image_token_id).long()
        return is_image * (1 + (opened > closed).long())

    def _joined(self, runs: Sequence[Run], core: Any, inputs: Mapping[str, Any]) -> Sequence[bool]:
        """Frames follow each other within one pair of video marks."""
        return [
            bool(run.is_video)
            and before.sample == run.sample
            and not _video_begins(core.config, inputs, before, run)
            for before, run in pairwise(runs)
        ]

    def load_processor(self, folder: Path) -> Any:
        return GlmProcessor.from_pretrained(folder, backend="pil")


def _video_begins(config: Any, inputs: Mapping[str, Any], before: Run, run: Run) -> bool:
    if (input_ids := inputs.get("input_ids")) is None:
        return False
    between = input_ids[run.sample, before.end : run.start]
    return bool((between == config.video_start_token_id).any())
