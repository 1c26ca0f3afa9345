"""Attention masks for decoder layers whose caches have different lengths."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from transformers.masking_utils import create_causal_mask

from .cache_names import cache_parameter


@dataclass(frozen=True)
class StoredLength:
    """Answers the two questions that transformers' mask factories ask a cache."""

    length: int

    def get_query_offset(self, layer_idx: int | None = None) -> int:
        return self.length

    def get_mask_sizes(self, query_length: int, layer_idx: int | None = None) -> tuple[int, int]:
        return self.length + query_length, 0


@dataclass
class MaskFactory:
    """Causal masks of one forward call, each built once.

    Attributes:
        config: the decoder's configuration, which names the attention backend.
    """

    config: Any
    _made: dict[tuple[int, int, int], tuple[Tensor | None, Any]] = field(default_factory=dict)

    def mask(self, hidden: Tensor, past: int, valid: Tensor | None) -> Any:
        """The mask of a layer in the form of its attention backend; None where none is needed.

        Without padding SDPA's causal fast path and FlashAttention stay on.

        Args:
            hidden: input of the layer, `[B, Q, E]`.
            past: entries in the layer's cache before this call.
            valid: real entries among past and new ones, bool `[B, past + Q]`, or None for all.
        """
        if valid is None and hidden.shape[1] == 1:
            return None  # one token sees every entry, whatever the backend
        key = (past, hidden.shape[1], id(valid))
        if key not in self._made:
            # the tensor is held too, so that its id cannot be given to another one
            self._made[key] = (valid, self._create(hidden, past, valid))
        return self._made[key][1]

    def _create(self, hidden: Tensor, past: int, valid: Tensor | None) -> Any:
        cache: dict[str, Any] = {cache_parameter(create_causal_mask): StoredLength(past)}
        return create_causal_mask(
            config=self.config, inputs_embeds=hidden, attention_mask=valid, layer_idx=0, **cache
        )
