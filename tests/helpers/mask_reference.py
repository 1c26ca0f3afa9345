"""The slow truth: nothing is removed, attention masks hide what a policy drops.

The full sequence runs through the unmodified model. In prefill, layers from a stage on cannot see
the tokens that it dropped; in decoding no layer in the scope of the policy's cache can.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ivcprune.policy import BoundPolicy
from ivcprune.pruning.cache_names import given_cache
from ivcprune.selectors import Selector
from ivcprune.tokens import VisualTokens


@dataclass(frozen=True, eq=False)
class Spy(Selector):
    """Selects like `selector` and writes down (sample, index) of what stays, newlines included."""

    selector: Selector
    log: list[list[tuple[int, int]]] = field(default_factory=list)

    def select(self, tokens: VisualTokens) -> Tensor:
        keep = self.selector.select(tokens)
        rows, columns = ((keep | tokens.special) & tokens.valid).nonzero(as_tuple=True)
        samples, index = tokens.sample[rows].tolist(), tokens.index[rows, columns].tolist()
        self.log.append(list(zip(samples, index, strict=True)))
        return keep

    @property
    def share(self) -> float | None:
        return self.selector.share


@contextmanager
def masked(
    decoder: Any, policy: BoundPolicy, visual: Tensor, kept: Sequence[Tensor], padding: Tensor
) -> Iterator[None]:
    """Hide the tokens that the stages drop.

    Args:
        decoder: the text model.
        policy: gives layers and scope.
        visual: visual tokens of the input, bool `[B, S]`.
        kept: for each stage, in order, the visual tokens it keeps, bool `[B, S]`.
        padding: real tokens of the input, bool `[B, S]`.
    """
    length = visual.shape[1]

    def hidden_from(index: int, decoding: bool) -> Tensor:
        dropped = torch.zeros_like(visual)
        for stage, keep in zip(policy.stages, kept, strict=True):
            if index >= stage.layer or (decoding and policy.reaches(stage, index)):
                dropped |= visual & ~keep
        return dropped

    def hook(index: int) -> Any:
        def before(module: Any, args: Any, kwargs: Any) -> Any:
            queries, cache = args[0].shape[1], given_cache(kwargs)
            past = cache.layers[index].get_seq_length()
            total = past + queries
            seen = torch.ones(len(visual), total, dtype=torch.bool)
            seen[:, :length] = padding & ~hidden_from(index, decoding=past > 0)
            causal = torch.ones(queries, total, dtype=torch.bool).tril(past)
            allowed = seen[:, None, None] & causal
            lowest = torch.finfo(args[0].dtype).min
            mask = torch.zeros(allowed.shape, dtype=args[0].dtype).masked_fill(~allowed, lowest)
            return args, {**kwargs, "attention_mask": mask}

        return before

    handles = [
        layer.register_forward_pre_hook(hook(i), with_kwargs=True)
        for i, layer in enumerate(decoder.layers)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
