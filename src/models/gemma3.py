"""Gemma 3: squares of tokens that see each other whole; five layers of windows to a full one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from .base import Family
from .blocks import Block, square_blocks
from .token_rules import TokenRule


class Gemma3(Family):
    """One row per image, which is squeezed into a square; pan-and-scan crops are more images.

    Implicit visual coordinates speak of the rotary embedding of full attention; that of the
    windows turns faster.
    """

    name = "gemma3"
    model_types = ("gemma3",)
    token_rules: ClassVar[Mapping[str, TokenRule]] = {
        **Family.token_rules,
        "sliding_attention": TokenRule.WINDOW,
    }
    own_masks = True
    rotary_by_type = True

    def check(self, config: Any) -> None:
        if config.get_text_config().use_bidirectional_attention:
            raise ValueError(
                "this model's text_config has use_bidirectional_attention: all tokens see each "
                "other, so there is no prompt to prune and no cache to keep"
            )

    def default_layer(self, depth: int) -> int:
        """16/28 of the depth (inferred: nothing is published for it)."""
        return max(1, round(depth * 16 / 28))

    def inverse_frequencies(self, model: nn.Module) -> Tensor:
        text_model: Any = self.text_model(model)
        with torch.device("cpu"):
            rotary = type(text_model.rotary_emb)(config=text_model.config)
        return cast(Tensor, rotary.full_attention_inv_freq)

    def blocks(self, core: Any, inputs: Mapping[str, Any], positions: Tensor) -> list[Block]:
        side = round(core.config.mm_tokens_per_image**0.5)
        return square_blocks(inputs, core.config.image_token_id, side)

    def input_sizes(self, inputs: Mapping[str, Any], processor: Any) -> list[tuple[int, int]]:
        height, width = inputs["pixel_values"].shape[-2:]
        return [(width, height)] * len(inputs["pixel_values"])
