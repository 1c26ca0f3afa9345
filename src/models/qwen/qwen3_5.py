"""Qwen3.5: laid out as Qwen3-VL; three of four layers are recurrent (gated delta nets)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from ..rotary import Rotary
from ..token_rules import TokenRule
from .qwen3_vl import Qwen3VL


class Qwen35(Qwen3VL):
    """No settings are published for it: those of Qwen2.5-VL at the same depth (inferred).

    Where its stages need attention, they stand at the next layer that has, or follows, full
    attention. There are no DeepStack features.
    """

    name = "qwen3_5"
    model_types = ("qwen3_5",)
    token_rules: ClassVar[Mapping[str, TokenRule]] = {
        **Qwen3VL.token_rules,
        "linear_attention": TokenRule.STATE,
    }

    def queries(self, layer: Any, hidden: Tensor, rotary: Rotary | None) -> Tensor:
        """Each head's projection is its query, then the gate of its output."""
        attention = layer.self_attn
        states = attention.q_proj(layer.input_layernorm(hidden))
        states = states.unflatten(-1, (-1, 2 * attention.head_dim))
        states = states[..., : attention.head_dim].flatten(-2)
        return self.rotate(attention, self._heads(states, attention, "q_norm"), rotary)


class Qwen35Moe(Qwen35):
    """Qwen3.5 with a mixture of experts behind each layer's mixer."""

    name = "qwen3_5_moe"
    model_types = ("qwen3_5_moe",)
