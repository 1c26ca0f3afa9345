"""Mistral Small 3.1, 3.2 and Ministral 3: native resolution, a mark ends each line of tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import ProcessorMixin
from transformers.models.pixtral.image_processing_pil_pixtral import get_resize_output_image_size

from .base import Family
from .blocks import Block


class Mistral3(Family):
    """One row per image: h lines of w tokens, each with its mark, which is special and stays.

    The mark that ends an image differs from the one that ends a line. Nothing is published for
    this family: the share of Qwen2.5-VL-7B's layer is taken (inferred). Ministral 3 scales queries
    by their positions beyond `original_max_position_embeddings` (16,384); attention that selectors
    ask for leaves that out, so there it is the model's own at another temperature.
    """

    name = "mistral3"
    model_types = ("mistral3",)
    text_skip = 0  # the closing mark belongs to the block

    def check(self, config: Any) -> None:
        kind = config.text_config.model_type
        if kind not in ("mistral", "ministral3"):
            raise ValueError(
                f"this model is of type 'mistral3' with the text model {kind!r}: the family "
                "'mistral3' knows mistral and ministral3"
            )

    def default_layer(self, depth: int) -> int:
        """16/28 of the depth (inferred)."""
        return max(1, round(depth * 16 / 28))

    def needs_position_ids(self, config: Any) -> bool:
        """Ministral 3 scales its queries by their positions."""
        return bool(config.get_text_config().model_type == "ministral3")

    def blocks(self, core: Any, inputs: Mapping[str, Any], positions: Tensor) -> list[Block]:
        if (input_ids := inputs.get("input_ids")) is None:
            raise ValueError(
                "inputs_embeds came without input_ids: the lines of an image are told by their "
                "marks, so pass input_ids beside inputs_embeds"
            )
        blocks: list[Block] = []
        for sample, ids in enumerate(input_ids.tolist()):
            lines = _lines(ids, core.config.image_token_id)
            end_mark = ids[lines[-1][1]] if lines else None
            image, first = 0, 0
            for i, (_, end) in enumerate(lines):
                if ids[end] == end_mark:
                    blocks.append(_block(sample, image, lines[first : i + 1]))
                    image, first = image + 1, i + 1
        return blocks

    def input_sizes(self, inputs: Mapping[str, Any], processor: Any) -> list[tuple[int, int]]:
        return [(width, height) for height, width in inputs["image_sizes"].tolist()]

    def load_processor(self, folder: Path) -> Any:
        return LinesProcessor.from_pretrained(folder, backend="pil")


def _lines(ids: list[int], image_token: int) -> list[tuple[int, int]]:
    """First token and end (the place of its mark) of each line of image tokens.

    Raises:
        ValueError: a line has no mark.
    """
    padded = [None, *ids, None]
    is_image = [token == image_token for token in padded]
    edges = [i for i, (before, now) in enumerate(pairwise(is_image)) if before != now]
    lines = list(zip(edges[::2], edges[1::2], strict=True))
    if lines and lines[-1][1] == len(ids):
        raise ValueError(
            "input_ids end within an image: pass input_ids as the processor returns them"
        )
    return lines


def _block(sample: int, image: int, lines: list[tuple[int, int]]) -> Block:
    start, width = lines[0][0], lines[0][1] - lines[0][0]
    starts = [start + row * (width + 1) for row in range(len(lines))]
    expected = [(at, at + width) for at in starts]
    if lines != expected:
        raise ValueError(
            f"the lines of image {image} of sample {sample} are not equally long, or something "
            "stands between them: pass input_ids as the processor returns them"
        )
    block = Block.full(sample, image, "image", (len(lines), width + 1), start)
    special = block.cell[:, 1] == width
    x = (block.xy[:, 0] * (width + 1) / width).clamp(max=1)
    xy = torch.stack([x, block.xy[:, 1]], dim=-1)
    return replace(block, xy=xy, special=special, eligible=~special)


class LinesProcessor(ProcessorMixin):
    """What transformers' `PixtralProcessor` does for images and text, without torchvision.

    Attributes:
        patch_size, spatial_merge_size: pixels of a patch, and patches of a token, along one side.
    """

    def __init__(
        self,
        image_processor: Any = None,
        tokenizer: Any = None,
        patch_size: int = 14,
        spatial_merge_size: int = 2,
        chat_template: str | None = None,
        image_token: str = "[IMG]",
        image_break_token: str = "[IMG_BREAK]",
        image_end_token: str = "[IMG_END]",
        **kwargs: Any,
    ) -> None:
        super().__init__(image_processor, tokenizer, chat_template=chat_template)
        self.patch_size, self.spatial_merge_size = patch_size, spatial_merge_size
        self.image_token, self.image_break_token = image_token, image_break_token
        self.image_end_token = image_end_token
        self.image_token_id = tokenizer.convert_tokens_to_ids(image_token)

    @property
    def model_input_names(self) -> list[str]:
        return [*super().model_input_names, "image_sizes"]

    def _process_images(self, images: Any, **kwargs: Any) -> Any:
        return super()._process_images(images, **kwargs | {"patch_size": self._side})

    def replace_image_token(self, image_inputs: dict[str, Any], image_idx: int, **_: Any) -> str:
        height, width = (int(n) // self._side for n in image_inputs["image_sizes"][image_idx])
        lines = [self.image_token * width] * height
        return self.image_break_token.join(lines) + self.image_end_token

    def _get_num_multimodal_tokens(self, image_sizes: Any = None, **_: Any) -> dict[str, list[int]]:
        """Tokens of images of these (height, width), marks included."""
        edge = self.image_processor.size["longest_edge"]
        counts = []
        for size in image_sizes or ():
            picture = torch.empty(3, *size, device="meta")
            height, width = get_resize_output_image_size(picture, (edge, edge), (self._side,) * 2)
            counts.append((width // self._side + 1) * (height // self._side))
        return {"num_image_tokens": counts}

    @property
    def _side(self) -> int:
        """Pixels of a token along one side."""
        return self.patch_size * self.spatial_merge_size
