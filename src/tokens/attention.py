"""Exact attention rows from queries and keys, at the cost of the rows that are asked for."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_CHUNK = 2**24
"""Most logits held at once; bounds memory at long prompts and long videos."""


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

    def over_sequence(self) -> Tensor:
        """Softmax over every key that a query may see, head mean, of the current sequence only.

        Returns:
            float32 `[B, Q, K - past]`: the eager model's weights.
        """
        weights = attention_rows(
            self.queries, self.keys, self.valid, self.past + self.asking.slots, self.scaling
        )
        return weights[:, :, self.past :] * self.asking.mask[:, :, None].to(weights.device)

    def over_tokens(self, sample: Tensor, slot: Tensor, valid: Tensor) -> Tensor:
        """Softmax over the tokens of a row alone, head mean.

        Args:
            sample: batch element of each row, long `[R]`.
            slot: slots of the row's tokens, long `[R, N]`.
            valid: bool `[R, N]`.

        Returns:
            float32 `[R, Q, N]`; 0 where a query comes before the whole row.
        """
        sample, slot = sample.to(self.keys.device), slot.to(self.keys.device)
        keys = self.keys[sample[:, None], :, self.past + slot].transpose(1, 2)
        asking = self.asking.slots.to(slot.device)[sample]
        seen = valid.to(slot.device)[:, None] & (slot[:, None] <= asking[:, :, None])
        weights = _softmax_rows(self.queries[sample], keys, seen, self.scaling)
        return weights * self.asking.mask.to(slot.device)[sample][:, :, None]


def attention_rows(
    queries: Tensor, keys: Tensor, valid: Tensor, place: Tensor, scaling: float
) -> Tensor:
    """Causal softmax rows over all keys, averaged over heads.

    Args:
        queries: `[B, H, Q, D]`.
        keys: `[B, H_kv, K, D]`.
        valid: bool `[B, K]`.
        place: key of each query's own token, long `[B, Q]`.
        scaling: of the attention module.

    Returns:
        float32 `[B, Q, K]`.
    """
    device = keys.device
    earlier = torch.arange(keys.shape[2], device=device) <= place.to(device)[:, :, None]
    return _softmax_rows(queries, keys, valid.to(device)[:, None] & earlier, scaling)


def _softmax_rows(queries: Tensor, keys: Tensor, seen: Tensor, scaling: float) -> Tensor:
    """Head mean of the softmax over what each query sees, bool `[B, Q, K]`."""
    grouped = queries.to(keys.device).unflatten(1, (keys.shape[1], -1)).float()
    keys = keys.float()
    n_rows, n_heads, n_queries = queries.shape[:3]
    step = max(1, _CHUNK // max(1, n_rows * n_heads * keys.shape[2]))
    pieces = []
    for start in range(0, n_queries, step):
        some = slice(start, start + step)
        logits = torch.einsum("bhgqd,bhkd->bhgqk", grouped[:, :, :, some], keys) * scaling
        hidden = ~seen[:, None, None, some]
        weights = logits.masked_fill_(hidden, -torch.inf).softmax(dim=-1).mean(dim=(1, 2))
        # a query that sees no key has no row: NaN must not leak
        pieces.append(weights.nan_to_num(0.0))
    return torch.cat(pieces, dim=1) if pieces else keys.new_zeros(n_rows, 0, keys.shape[2])
