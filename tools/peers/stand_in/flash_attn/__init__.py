"""Stands in for FlashAttention where it cannot run: the same calls, by PyTorch's own attention.

Put on the path of a process whose code knows no other backend. Only what such code calls for
inference is here: no dropout, no windows.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

__version__ = "2.7.0"


def flash_attn_func(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = False,
    deterministic: bool = False,
) -> Tensor:
    """Attention; where causal, the last query sees the last key.

    Args:
        q: `[B, Q, H, D]`.
        k, v: `[B, K, H', D]`, where H is a multiple of H'.

    Returns:
        `[B, Q, H, D]`.

    Raises:
        ValueError: dropout is asked for.
    """
    if dropout_p:
        raise ValueError(f"dropout_p is {dropout_p}: this stand-in is for inference, pass 0")
    n_queries, n_keys = q.shape[1], k.shape[1]
    query, key, value = (x.transpose(1, 2) for x in (q, k, v))
    mask = None
    if causal and 1 < n_queries != n_keys:
        mask = torch.ones(n_queries, n_keys, dtype=torch.bool, device=q.device)
        mask = mask.tril(n_keys - n_queries)
    attended = scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=mask,
        is_causal=causal and mask is None and n_queries > 1,
        scale=softmax_scale,
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return attended.transpose(1, 2)


def flash_attn_varlen_func(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_seqlens_q: Tensor,
    cu_seqlens_k: Tensor,
    max_seqlen_q: int,
    max_seqlen_k: int,
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = False,
    deterministic: bool = False,
) -> Tensor:
    """Attention inside each of several sequences that lie end to end.

    Args:
        q, k, v: `[tokens, H, D]`.
        cu_seqlens_q, cu_seqlens_k: where each sequence begins, and the end of the last.
    """
    parts = []
    queries, keys = cu_seqlens_q.tolist(), cu_seqlens_k.tolist()
    for i in range(len(queries) - 1):
        rows, columns = slice(*queries[i : i + 2]), slice(*keys[i : i + 2])
        one = (q[None, rows], k[None, columns], v[None, columns])
        parts.append(flash_attn_func(*one, dropout_p, softmax_scale, causal)[0])
    return torch.cat(parts)
