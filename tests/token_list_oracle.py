"""The slow truth for what masks cannot express: every layer's tokens as an explicit list.

One sample, one layer at a time, plain attention over the tokens that a layer really has, each with
its own position. Uses the model's modules but none of its loops, caches or masks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ivcprune.models.base import Family
from ivcprune.policy import BoundPolicy


@dataclass
class Cached:
    """Keys and values `[H_kv, n, D]` of a layer, and which input token each entry is."""

    keys: Tensor
    values: Tensor
    index: Tensor


def oracle_logits(
    model: Any,
    family: Family,
    policy: BoundPolicy,
    embeddings: Tensor,
    kept: Mapping[str, Sequence[int]],
    visual: Tensor,
    answer: Sequence[int],
) -> list[Tensor]:
    """Logits of the last token of the prefill, and after each token of the answer.

    Args:
        embeddings: input of the decoder `[S, E]`; positions are 0 to S - 1.
        kept: by stage, sequence indices of the visual tokens that stay.
        visual: bool `[S]`.
        answer: tokens that are fed one by one.
    """
    decoder = family.text_model(model)
    stages = {stage.layer: stage for stage in policy.stages}
    length = len(embeddings)
    index, hidden = torch.arange(length), embeddings
    positions = index.clone()
    caches: list[Cached] = []
    shifts = []
    for i, layer in enumerate(decoder.layers):
        if i in stages:
            stays = ~visual[index]
            stays |= torch.isin(index, torch.tensor(kept[stages[i].name]))
            index, hidden = index[stays], hidden[stays]
            positions = positions[stays]
            if policy.positions == "reassign":
                positions = torch.arange(len(index))
            for j in range(i):
                if policy.reaches(stages[i], j):
                    there = torch.isin(caches[j].index, index)
                    caches[j] = Cached(caches[j].keys[:, there], caches[j].values[:, there], index)
        empty = hidden.new_zeros(layer.self_attn.config.num_key_value_heads, 0, 16)
        caches.append(Cached(empty, empty, index[:0]))
        hidden = run_layer(family, decoder, layer, hidden, positions, caches[i], index)
        shifts.append(length - 1 - int(positions[-1]))
    logits = [model.lm_head(decoder.norm(hidden[-1]))]
    for step, token in enumerate(answer):
        hidden = decoder.embed_tokens(torch.tensor([token]))
        for i, layer in enumerate(decoder.layers):
            position = torch.tensor([length + step - shifts[i]])
            new = torch.tensor([length + step])
            hidden = run_layer(family, decoder, layer, hidden, position, caches[i], new)
        logits.append(model.lm_head(decoder.norm(hidden[-1])))
    return logits


def run_layer(
    family: Family,
    decoder: Any,
    layer: Any,
    hidden: Tensor,
    positions: Tensor,
    cache: Cached,
    index: Tensor,
) -> Tensor:
    """Output `[n, E]` of a decoder layer for new tokens, which join its cache."""
    attention = layer.self_attn
    cos, sin = decoder.rotary_emb(hidden[None], positions[None])
    queries = family.queries(layer, hidden[None], (cos, sin))[0]
    keys = family.keys(layer, hidden[None], (cos, sin))[0]
    values = attention.v_proj(layer.input_layernorm(hidden))
    values = values.unflatten(-1, (-1, attention.head_dim)).transpose(0, 1)
    seen = cache.keys.shape[1]
    cache.keys = torch.cat([cache.keys, keys], dim=1)
    cache.values = torch.cat([cache.values, values], dim=1)
    cache.index = torch.cat([cache.index, index])
    groups = queries.shape[0] // keys.shape[0]
    scores = queries @ cache.keys.repeat_interleave(groups, 0).transpose(1, 2) * attention.scaling
    future = torch.ones(scores.shape[1:], dtype=torch.bool).triu(seen + 1)
    weights = scores.masked_fill(future, -torch.inf).softmax(-1)
    mixed = weights @ cache.values.repeat_interleave(groups, 0)
    hidden = hidden + attention.o_proj(mixed.transpose(0, 1).flatten(1))
    return hidden + layer.mlp(layer.post_attention_layernorm(hidden))
