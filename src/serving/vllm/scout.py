"""A pass through the first decoder layers of an engine's language model, without any cache.

Works on vLLM's Qwen layers as they are (0.32): `input_layernorm`, `self_attn` with `qkv_proj`,
`rotary_emb` and `o_proj`, `post_attention_layernorm`, `mlp`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Projections:
    """What attention of a layer works with, each `[1, H, S, D]` (keys and values: H_kv)."""

    queries: Tensor
    keys: Tensor
    rotated_queries: Tensor
    rotated_keys: Tensor
    values: Tensor
    scaling: float


@dataclass(frozen=True, eq=False)
class Scouted:
    """What a pass leaves.

    Attributes:
        hidden: input of the layer about to run, `[S, E]`.
        previous: of the layer that ran last, None where none did.
        following: of the layer about to run.
    """

    hidden: Tensor
    previous: Projections | None
    following: Projections


def scout(
    layers: Sequence[Any],
    hidden: Tensor,
    positions: Tensor,
    n_layers: int,
    additions: Mapping[int, Tensor],
) -> Scouted:
    """The first `n_layers` layers on a whole prompt, each token seeing those before it.

    Args:
        layers: decoder layers; at least `n_layers` + 1 of them.
        hidden: input embeddings `[S, E]`.
        positions: position ids of the rotary embedding, long `[A, S]`.
        additions: what is added to the output of a layer, `[S, E]`, by layer (DeepStack).
    """
    previous = None
    for index in range(n_layers):
        layer = layers[index]
        previous = _project(layer, hidden, positions)
        mixed = torch.nn.functional.scaled_dot_product_attention(
            previous.rotated_queries,
            previous.rotated_keys,
            previous.values,
            is_causal=True,
            scale=previous.scaling,
            enable_gqa=True,
        )
        attended, _ = layer.self_attn.o_proj(mixed[0].transpose(0, 1).flatten(1))
        hidden = hidden + attended
        # a copy: the engine's norms may write into what they are given
        hidden = hidden + layer.mlp(layer.post_attention_layernorm(hidden.clone()))
        if index in additions:
            hidden = hidden + additions[index].to(hidden)
    return Scouted(hidden, previous, _project(layers[n_layers], hidden, positions))


def _project(layer: Any, hidden: Tensor, positions: Tensor) -> Projections:
    attention = layer.self_attn
    states, _ = attention.qkv_proj(layer.input_layernorm(hidden.clone()))
    sizes = [attention.q_size, attention.kv_size, attention.kv_size]
    queries, keys, values = states.split(sizes, dim=-1)
    if hasattr(attention, "q_norm"):
        queries, keys = (
            norm(x.unflatten(-1, (-1, attention.head_dim)).contiguous()).flatten(1)
            for norm, x in ((attention.q_norm, queries), (attention.k_norm, keys))
        )
    rotated = attention.rotary_emb(positions, queries.clone(), keys.clone())

    def heads(states: Tensor) -> Tensor:
        return states.unflatten(-1, (-1, attention.head_dim)).transpose(0, 1)[None]

    return Projections(
        queries=heads(queries),
        keys=heads(keys),
        rotated_queries=heads(rotated[0]),
        rotated_keys=heads(rotated[1]),
        values=heads(values),
        scaling=attention.scaling,
    )
