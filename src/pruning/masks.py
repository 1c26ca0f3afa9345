"""Masks of decoder layers that have lost tokens: made anew, or taken from the decoder's own."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers.masking_utils import create_causal_mask

from .caches.layer import PrunedLayer
from .caches.names import cache_parameter
from .memo import SameTensors


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
    _made: SameTensors[Any] = field(default_factory=SameTensors)

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
        make = partial(self._create, hidden, past, valid)
        return self._made.once((valid,), make, past, hidden.shape[1])

    def _create(self, hidden: Tensor, past: int, valid: Tensor | None) -> Any:
        cache: dict[str, Any] = {cache_parameter(create_causal_mask): StoredLength(past)}
        return create_causal_mask(
            config=self.config, inputs_embeds=hidden, attention_mask=valid, layer_idx=0, **cache
        )


class OwnMasks:
    """The masks that a decoder makes for one call, at the rows and columns of what is left.

    Blocks that see themselves whole and windows stay what they were: a mask made anew by the
    entries of a pruned cache would open a window to tokens further back.
    """

    def __init__(self, seen: int) -> None:
        """For a call that comes after so many tokens of each sequence."""
        self._seen = seen
        self._extended: SameTensors[Tensor] = SameTensors()
        self._taken: SameTensors[Tensor] = SameTensors()

    def extend(self, layer: PrunedLayer, past: int, hidden: Tensor, origin: Tensor | None) -> None:
        """Write down where the tokens of this call were when nothing had been dropped.

        Args:
            layer: about to cache them, behind its `past` entries.
            hidden: its input, `[B, Q, E]`.
            origin: their slots in the input of a prefill, long `[B, Q]`; None where all are there.
        """
        make = partial(self._both, layer.index, past, hidden, origin)
        layer.index = self._extended.once((layer.index, origin), make, past, hidden.shape[1])

    def _both(
        self, earlier: Tensor | None, past: int, hidden: Tensor, origin: Tensor | None
    ) -> Tensor:
        """Where the entries of a layer were, the new ones behind the earlier ones."""
        batch, length = hidden.shape[:2]
        if earlier is None:  # it has lost nothing but the first ones
            earlier = torch.arange(self._seen - past, self._seen, device=hidden.device)
            earlier = earlier.expand(batch, -1)
        new = torch.arange(length, device=hidden.device) if origin is None else origin
        return torch.cat([earlier, self._seen + new.to(earlier.device).expand(batch, -1)], 1)

    def mask(
        self, given: Any, layer: PrunedLayer, origin: Tensor | None, valid: Tensor | None
    ) -> Tensor:
        """A layer's mask, `[B, 1, Q, K]`, from what the decoder made for it.

        Args:
            given: with a column for each token seen, `[B, 1, S, P + S]`, bool or additive.
            layer: the layer's cache, whose `index` knows the K entries already.
            origin: see `extend`.
            valid: real ones among the entries, bool `[B, K]`, or None for all.

        Raises:
            ValueError: it is a mask of another kind.
        """
        if not isinstance(given, Tensor) or given.dim() != 4:
            raise ValueError(
                f"a layer's mask is a {type(given).__name__}"
                f"{f' of {given.dim()} dimensions' if isinstance(given, Tensor) else ''}: pruning "
                "keeps the windows and blocks of this model's own masks, which only the attention "
                "implementations 'sdpa' and 'eager' have"
            )
        assert layer.index is not None
        parts = (given, layer.index, origin, valid)
        return self._taken.once(parts, partial(_taken, *parts))


def _taken(given: Tensor, index: Tensor, origin: Tensor | None, valid: Tensor | None) -> Tensor:
    rows = torch.arange(len(index), device=given.device)[:, None, None]
    columns = index.to(given.device)[:, None]
    queries = torch.arange(given.shape[2], device=given.device)[None]
    if origin is not None:
        queries = origin.to(given.device)
    mask = given.expand(len(index), *given.shape[1:])[rows, 0, queries[:, :, None], columns]
    if valid is not None:
        hidden = ~valid.to(given.device)[:, None]
        lowest = False if mask.dtype is torch.bool else torch.finfo(mask.dtype).min
        mask = mask.masked_fill(hidden, lowest)
    return mask[:, None]


def state_mask(valid: Tensor | None, hidden: Tensor) -> Tensor | None:
    """Which tokens of a packed sequence may change the state, long `[B, S]`; None for all.

    On the left of a sequence that is exact: a state of zeros stays one, and a convolution sees
    zeros before its first token anyway. A token that is masked further on is NOT one that was left
    out: it lets the state decay, and stands between its neighbours in a convolution.

    Args:
        valid: real tokens of the sequence, bool `[B, S]`, or None for all.
        hidden: input of the layer, `[B, S, E]`.
    """
    return None if valid is None else valid.long().to(hidden.device)
