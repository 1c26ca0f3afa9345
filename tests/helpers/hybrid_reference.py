"""Models whose layers are of several kinds, pruned and beside the reference with masks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ivcprune import PruningPolicy, Stage, prune
from ivcprune.api import bind
from ivcprune.models.registry import family_of_model
from ivcprune.selectors import (
    FastVSelector,
    Per,
    RandomSelector,
    SeedSelector,
    UpcomingSimilaritySelector,
)
from ivcprune.testing.reference import Spy, masked

WINDOW_POLICIES = {
    "at the input": {"a": Stage(0, RandomSelector(keep=0.5))},
    "on a window": {"a": Stage(1, RandomSelector(keep=0.5))},
    "on a full layer": {"a": Stage(2, UpcomingSimilaritySelector(keep=0.4))},
    "behind it": {"a": Stage(3, Per("sample", FastVSelector(keep=0.4)))},
    "several": {
        "a": Stage(1, RandomSelector(keep=0.8)),
        "b": Stage(3, Per("image", SeedSelector(keep=0.6))),
        "c": Stage(5, RandomSelector(keep=0.2)),
    },
}
"""For models of twice two windows and a full layer: a stage at and behind each kind."""


def built_of_layers(build: Callable[[Sequence[str]], Any], types: Sequence[str], kind: str) -> Any:
    """A tiny model of these layers and its processor, with weights that tell tokens apart.

    Args:
        build: of the family, from the types of layers.
        kind: the attention implementation.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, processor = build(types)
        for parameter in model.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
    model.set_attn_implementation(kind)
    return model.eval(), processor


def spied(policy: PruningPolicy) -> PruningPolicy:
    """The same policy, whose selectors write down what they keep."""
    stages = {n: replace(s, selector=Spy(s.selector)) for n, s in policy.stages.items()}
    return replace(policy, stages=stages)


@contextmanager
def hiding_dropped(model: Any, policy: PruningPolicy, inputs: Any) -> Iterator[None]:
    """The whole model, in which masks hide what a spied policy dropped in its first prefill."""
    family = family_of_model(model)
    bound = bind(policy, family, model.config)
    types = inputs.get("mm_token_type_ids")  # where videos are visual too
    visual = inputs["input_ids"] == model.config.image_token_id if types is None else types > 0
    kept = [_kept(stage.selector, visual) for stage in bound.stages]
    real = inputs["attention_mask"].bool()
    with masked(family.text_model(model), bound, visual, kept, real):
        yield


def _kept(spy: Any, visual: Tensor) -> Tensor:
    keep = torch.zeros_like(visual)
    for sample, index in spy.log[0]:
        keep[sample, index] = True
    return keep


@dataclass(frozen=True, eq=False)
class Comparison:
    """A pruned generation beside the reference.

    Attributes:
        differences: the largest one of the logits at each step.
        run: the prune block.
        pruned: what the pruned model generated.
    """

    differences: list[float]
    run: Any
    pruned: Any


def compared(
    model: Any, inputs: Any, policy: PruningPolicy, generate: Callable[[Any, Any], Any]
) -> Comparison:
    """Greedy generation with logits under a policy, against the reference."""
    policy = spied(policy)
    with prune(model, policy) as run:
        pruned = generate(model, inputs)
    with hiding_dropped(model, policy, inputs):
        reference = generate(model, inputs)
    pairs = zip(pruned.logits, reference.logits, strict=True)
    differences = [(ours - theirs).abs().max().item() for ours, theirs in pairs]
    return Comparison(differences, run, pruned)
