"""The slow truth for what masks cannot express: every layer's tokens as an explicit list.

One sample, one layer at a time, plain attention over the tokens that a layer really has, each with
its own position. Uses the model's modules but none of its loops, caches or masks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ivcprune.models.base import Family
from ivcprune.policy import BoundPolicy
from ivcprune.selectors import Selector
from ivcprune.selectors.selection import Selection
from ivcprune.tokens import VisualTokens


@dataclass
class Addition:
    """A token that joins behind slot `behind`, in the place of the token at slot `origin`."""

    behind: int
    origin: int
    state: Tensor


@dataclass
class Decision:
    """What a stage decided, by slot of the sequence that it saw."""

    visual: set[int]
    keep: set[int]
    merged: dict[int, Tensor]
    added: list[Addition]


@dataclass(frozen=True, eq=False)
class Recorder(Selector):
    """Selects like `selector`, and writes down the decision for the only sample there is."""

    selector: Selector
    decisions: list[Decision] = field(default_factory=list)

    def select(self, tokens: VisualTokens) -> Tensor | Selection:
        result = self.selector.select(tokens)
        selection = result if isinstance(result, Selection) else Selection(result)
        slot, keep = tokens.slot, selection.keep & tokens.valid
        merged, added = {}, []
        if selection.merged is not None:
            merged = dict(zip(slot[keep].tolist(), selection.merged[keep], strict=True))
        if selection.added is not None:
            new = selection.added
            for row, column in new.valid.nonzero().tolist():
                behind = int(slot[row][tokens.valid[row]].max())
                origin = int(slot[row, new.origin[row, column]])
                added.append(Addition(behind, origin, new.states[row, column]))
        visual = set(slot[tokens.valid].tolist())
        self.decisions.append(Decision(visual, set(slot[keep].tolist()), merged, added))
        return result


@dataclass
class Cached:
    """Keys and values `[H_kv, n, D]` of a layer, and which token each entry is."""

    keys: Tensor
    values: Tensor
    name: list[int]


def oracle_logits(
    model: Any,
    family: Family,
    policy: BoundPolicy,
    embeddings: Tensor,
    decisions: Mapping[str, Decision],
    answer: Sequence[int],
) -> list[Tensor]:
    """Logits of the last token of the prefill, and after each token of the answer.

    Args:
        embeddings: input of the decoder `[S, E]`; positions are 0 to S - 1.
        decisions: by stage.
        answer: tokens that are fed one by one.
    """
    decoder = family.text_model(model)
    stages = {stage.layer: stage for stage in policy.stages}
    length = len(embeddings)
    name, hidden, positions = list(range(length)), embeddings, torch.arange(length)
    caches: list[Cached] = []
    shifts = []
    for i, layer in enumerate(decoder.layers):
        if i in stages:
            name, hidden, positions = decided(
                decisions[stages[i].name], name, hidden, positions, first_new=(i + 1) * 1000
            )
            if policy.positions == "reassign":
                positions = torch.arange(len(name))
            for j in range(i):
                if policy.reaches(stages[i], j):
                    there = torch.tensor([n in name for n in caches[j].name])
                    left = [n for n in caches[j].name if n in name]
                    caches[j] = Cached(caches[j].keys[:, there], caches[j].values[:, there], left)
        empty = hidden.new_zeros(layer.self_attn.config.num_key_value_heads, 0, 16)
        caches.append(Cached(empty, empty, []))
        hidden = run_layer(family, decoder, layer, hidden, positions, caches[i], name)
        shifts.append(length - 1 - int(positions[-1]))
    logits = [model.lm_head(decoder.norm(hidden[-1]))]
    for step, token in enumerate(answer):
        hidden = decoder.embed_tokens(torch.tensor([token]))
        for i, layer in enumerate(decoder.layers):
            position = torch.tensor([length + step - shifts[i]])
            new = [length + step]
            hidden = run_layer(family, decoder, layer, hidden, position, caches[i], new)
        logits.append(model.lm_head(decoder.norm(hidden[-1])))
    return logits


def decided(
    decision: Decision, name: list[int], hidden: Tensor, positions: Tensor, first_new: int
) -> tuple[list[int], Tensor, Tensor]:
    """The tokens after a stage: names, states `[n, E]` and positions, built one by one."""
    out: list[tuple[int, Tensor, Tensor]] = []
    for slot, token in enumerate(name):
        if slot not in decision.visual:
            out.append((token, hidden[slot], positions[slot]))
        elif slot in decision.keep:
            out.append((token, decision.merged.get(slot, hidden[slot]), positions[slot]))
        for number, new in enumerate(decision.added):
            if new.behind == slot:
                out.append((first_new + number, new.state, positions[new.origin]))
    names, states, places = zip(*out, strict=True)
    return list(names), torch.stack(states), torch.stack(places)


def run_layer(
    family: Family,
    decoder: Any,
    layer: Any,
    hidden: Tensor,
    positions: Tensor,
    cache: Cached,
    name: list[int],
) -> Tensor:
    """Output `[n, E]` of a decoder layer for new tokens, which join its cache."""
    attention = layer.self_attn
    rotary = decoder.rotary_emb(hidden[None], positions[None])
    queries = family.queries(layer, hidden[None], rotary)[0]
    keys = family.keys(layer, hidden[None], rotary)[0]
    values = attention.v_proj(layer.input_layernorm(hidden))
    values = values.unflatten(-1, (-1, attention.head_dim)).transpose(0, 1)
    seen = cache.keys.shape[1]
    cache.keys = torch.cat([cache.keys, keys], dim=1)
    cache.values = torch.cat([cache.values, values], dim=1)
    cache.name = cache.name + name
    groups = queries.shape[0] // keys.shape[0]
    scores = queries @ cache.keys.repeat_interleave(groups, 0).transpose(1, 2) * attention.scaling
    future = torch.ones(scores.shape[1:], dtype=torch.bool).triu(seen + 1)
    weights = scores.masked_fill(future, -torch.inf).softmax(-1)
    mixed = weights @ cache.values.repeat_interleave(groups, 0)
    hidden = hidden + attention.o_proj(mixed.transpose(0, 1).flatten(1))
    return hidden + layer.mlp(layer.post_attention_layernorm(hidden))
