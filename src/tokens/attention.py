"""Exact attention rows from queries and keys, at the cost of the rows that are asked for."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .chunks import chunks


@dataclass(frozen=True, eq=False)
class Queries:
    """Tokens that ask, as slots of the current sequence.

    Attributes:
        slots: long `[B, Q]`.
        mask: which of them are meant, bool `[B, Q]`; the rest is padding, whose rows are 0.
    """

    slots: Tensor
    mask: Tensor


@dataclass(frozen=True, eq=False)
class AttentionInputs:
    """What one attention layer computes its weights from; K entries, `past` of earlier turns first.

    Attributes:
        queries: `[B, H, Q, D]`.
        keys: `[B, H_kv, K, D]`, never repeated for grouped queries.
        asking: which queries and where they are in the current sequence.
        valid: real keys, bool `[B, K]`.
        past: keys of earlier turns; the current sequence follows them.
        scaling: of the attention module.
    """

    queries: Tensor
    keys: Tensor
    asking: Queries
    valid: Tensor
    past: int
    scaling: float

    def over_sequence(self, *, each_head: bool = False) -> Tensor:
        """Softmax over every key that a query may see, of the current sequence only.

        Args:
            each_head: whether heads stay apart; else they are averaged.

        Returns:
            float32 `[B, Q, K - past]`, or `[B, H, Q, K - past]`: the eager model's weights.
        """
        weights = attention_rows(
            self.queries,
            self.keys,
            self.valid,
            self.past + self.asking.slots,
            self.scaling,
            each_head=each_head,
        )
        return _of_meant(weights[..., self.past :], self.asking.mask)

    def over_tokens(
        self, sample: Tensor, slot: Tensor, valid: Tensor, *, each_head: bool = False
    ) -> Tensor:
        """Softmax over the tokens of a row alone.

        Args:
            sample: batch element of each row, long `[R]`.
            slot: slots of the row's tokens, long `[R, N]`.
            valid: bool `[R, N]`.
            each_head: as in `over_sequence`.

        Returns:
            float32 `[R, Q, N]`, or `[R, H, Q, N]`; 0 where a query comes before the whole row.
        """
        sample, slot = sample.to(self.keys.device), slot.to(self.keys.device)
        keys = self.keys[sample[:, None], :, self.past + slot].transpose(1, 2)
        asking = self.asking.slots.to(slot.device)[sample]
        seen = valid.to(slot.device)[:, None] & (slot[:, None] <= asking[:, :, None])
        queries = self.queries.to(slot.device)[sample]
        weights = _softmax_rows(queries, keys, seen, self.scaling, each_head)
        return _of_meant(weights, self.asking.mask.to(slot.device)[sample])


def attention_rows(
    queries: Tensor,
    keys: Tensor,
    valid: Tensor,
    place: Tensor,
    scaling: float,
    *,
    each_head: bool = False,
) -> Tensor:
    """Causal softmax rows over all keys, averaged over heads unless each is asked for.

    Args:
        queries: `[B, H, Q, D]`.
        keys: `[B, H_kv, K, D]`.
        valid: bool `[B, K]`.
        place: key of each query's own token, long `[B, Q]`.
        scaling: of the attention module.

    Returns:
        float32 `[B, Q, K]`, or `[B, H, Q, K]`.
    """
    device = keys.device
    earlier = torch.arange(keys.shape[2], device=device) <= place.to(device)[:, :, None]
    return _softmax_rows(queries, keys, valid.to(device)[:, None] & earlier, scaling, each_head)


def _of_meant(weights: Tensor, mask: Tensor) -> Tensor:
    """Weights `[B, (H,) Q, K]`, 0 for queries that are padding, bool `[B, Q]`."""
    mask = mask.to(weights.device)[..., None]
    return weights * (mask if weights.dim() == mask.dim() else mask[:, None])


def _softmax_rows(
    queries: Tensor, keys: Tensor, seen: Tensor, scaling: float, each_head: bool
) -> Tensor:
    """Softmax of each head, or their mean, over what each query sees, bool `[B, Q, K]`."""
    grouped = queries.to(keys.device).unflatten(1, (keys.shape[1], -1)).float()
    keys = keys.float()
    n_rows, n_heads, n_queries = queries.shape[:3]
    pieces = []
    for some in chunks(n_queries, n_rows * n_heads * keys.shape[2]):
        logits = torch.einsum("bhgqd,bhkd->bhgqk", grouped[:, :, :, some], keys) * scaling
        hidden = ~seen[:, None, None, some]
        weights = logits.masked_fill_(hidden, -torch.inf).softmax(dim=-1)
        weights = weights.flatten(1, 2) if each_head else weights.mean(dim=(1, 2))
        # a query that sees no key has no row: NaN must not leak
        pieces.append(weights.nan_to_num(0.0))
    if not pieces:
        heads = (n_heads,) if each_head else ()
        return keys.new_zeros(n_rows, *heads, 0, keys.shape[2])
    return torch.cat(pieces, dim=-2)
