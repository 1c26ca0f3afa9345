"""The slow truth: nothing is removed, attention masks hide what a policy drops.

The full sequence runs through the unmodified model. In prefill, layers from a stage on cannot see
the tokens that it dropped; in decoding no layer in the scope of the policy's cache can.

In layers that keep a state of the sequence a token that is hidden still acts (the state decays, a
convolution sees a gap), so from a stage on they run on what is left alone, and their outputs go
back to their places. That is the definition of pruning there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from ..models.token_rules import holds_tokens
from ..policy import BoundPolicy
from ..pruning.caches.names import given_cache
from ..selectors import Selector
from ..selectors.selection import Selection
from ..tokens import VisualTokens


@dataclass(frozen=True, eq=False)
class Spy(Selector):
    """Selects like `selector` and writes down (sample, index) of what stays, newlines included."""

    selector: Selector
    log: list[list[tuple[int, int]]] = field(default_factory=list)

    def select(self, tokens: VisualTokens) -> Tensor | Selection:
        chosen = self.selector.select(tokens)
        keep = chosen.keep if isinstance(chosen, Selection) else chosen
        rows, columns = ((keep | tokens.special) & tokens.valid).nonzero(as_tuple=True)
        samples, index = tokens.sample[rows].tolist(), tokens.index[rows, columns].tolist()
        self.log.append(list(zip(samples, index, strict=True)))
        return chosen

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
            if not holds_tokens(cache.layers[index]):
                return None
            past = cache.layers[index].get_seq_length()
            total = past + queries
            seen = torch.ones(len(visual), total, dtype=torch.bool)
            seen[:, :length] = padding & ~hidden_from(index, decoding=past > 0)
            causal = torch.ones(queries, total, dtype=torch.bool).tril(past)
            allowed = seen[:, None, None] & causal
            given = kwargs.get("attention_mask")
            if is_whole(given):
                # windows and blocks are the model's own; a sliding cache lacks the first columns
                own = given if given.dtype is torch.bool else given == 0
                allowed = seen[:, None, None, total - own.shape[-1] :] & own
            lowest = torch.finfo(args[0].dtype).min
            mask = torch.zeros(allowed.shape, dtype=args[0].dtype).masked_fill(~allowed, lowest)
            return args, {**kwargs, "attention_mask": mask}

        return before

    caches = DynamicCache(config=decoder.config).layers
    with ExitStack() as stack:
        for i, layer in enumerate(decoder.layers):
            stack.callback(layer.register_forward_pre_hook(hook(i), with_kwargs=True).remove)
            if i < len(caches) and not holds_tokens(caches[i]):
                left = padding & ~hidden_from(i, decoding=False)
                skips = policy.stages and i >= policy.stages[0].layer
                stack.enter_context(skipping(layer, left) if skips else nullcontext())
        yield


def is_whole(mask: Any) -> bool:
    """Whether a mask tells which token sees which."""
    return isinstance(mask, Tensor) and mask.dim() == 4


@contextmanager
def skipping(layer: Any, left: Tensor) -> Iterator[None]:
    """A layer that in prefill sees those tokens alone, bool `[B, S]`, each sample by itself."""
    forward: Callable[..., Tensor] = layer.forward

    def skip(hidden: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if hidden.shape[1] != left.shape[1]:
            return forward(hidden, *args, **kwargs)
        length = int(left.sum(dim=1).max())
        packed = hidden.new_zeros(len(left), length, hidden.shape[2])
        real = torch.zeros(len(left), length, dtype=torch.bool)
        for b, tokens in enumerate(left):
            n = int(tokens.sum())
            packed[b, length - n :] = hidden[b, tokens]
            real[b, length - n :] = True
        mixed = forward(packed, *args, **kwargs | {"attention_mask": real.long()})
        output = hidden.clone()
        for b, tokens in enumerate(left):
            output[b, tokens] = mixed[b, real[b]]
        return output

    layer.forward = skip
    try:
        yield
    finally:
        del layer.forward
