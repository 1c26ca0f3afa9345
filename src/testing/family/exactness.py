"""Rules about what a pruned model computes, and what is counted of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ...policy import PruningPolicy, Stage
from ...selectors import RandomSelector
from ..greedy import Comparison, compared, generate
from .subject import Subject

TOLERANCE = 1e-5
BACKENDS = ("sdpa", "eager")


def policies(depth: int) -> dict[str, PruningPolicy]:
    """By what they do, for a model of so many layers."""
    half, middle = RandomSelector(keep=0.5), depth // 2
    first, last = RandomSelector(keep=0.7), RandomSelector(keep=0.3)
    several = {"first": Stage(1, first), "last": Stage(depth - 1, last)}
    return {
        "a stage before the language model": PruningPolicy({"a": Stage(0, half)}),
        f"a stage at layer {middle}, all layers": PruningPolicy({"a": Stage(middle, half)}),
        f"a stage at layer {middle}, from there on": PruningPolicy(
            {"a": Stage(middle, half)}, cache="from_stage"
        ),
        f"stages at the layers 1 and {depth - 1}": PruningPolicy(several),
    }


def vanilla(subject: Subject) -> str | None:
    """`policy=none` changes no bit."""
    for name, inputs in subject.inputs.items():
        expected = generate(subject.model, inputs)
        with subject.pruner(PruningPolicy()):
            found = generate(subject.model, inputs)
        pairs = zip(found.logits, expected.logits, strict=True)
        if not all(torch.equal(ours, theirs) for ours, theirs in pairs):
            return f"with nothing to prune the logits of {name} are not the model's own, bit by bit"
    return None


def exactness(subject: Subject) -> str | None:
    """Pruned logits are those of the model that cannot see what is dropped; so are the counts."""
    own = subject.model.config._attn_implementation
    try:
        for backend in BACKENDS:
            subject.model.set_attn_implementation(backend)
            for name, inputs in subject.inputs.items():
                for what, policy in policies(subject.depth).items():
                    if wrong := _compared(subject, inputs, policy):
                        return f"{what}, {name}, {backend} attention: {wrong}"
    finally:
        subject.model.set_attn_implementation(own)
    return None


def _compared(subject: Subject, inputs: Mapping[str, Any], policy: PruningPolicy) -> str | None:
    visual, bound = subject.visual(inputs), subject.bound(policy)
    found = compared(subject.model, subject.family, inputs, bound, visual)
    for step, difference in enumerate(found.differences):
        if not difference < TOLERANCE:
            return (
                f"the logits of {f'decode step {step}' if step else 'the prompt'} differ by "
                f"{difference:.1e} from those of the same model that merely cannot see the "
                f"dropped tokens, from {_first_wrong(subject, found, step)} on"
            )
    if not found.same_tokens:
        return "it generates other tokens than the model that cannot see the dropped ones"
    stats = found.run.stats
    assert stats is not None
    counts = {
        "visual tokens": (stats.n_visual, visual.sum(dim=1).tolist()),
        "kept tokens": (list(map(len, stats.kept)), found.kept.sum(dim=1).tolist()),
    }
    for what, (counted, true) in counts.items():
        if counted != true:
            return f"the statistics count {counted} {what}, and there are {true}"
    return None


def _first_wrong(subject: Subject, found: Comparison, step: int) -> str:
    """The first layer whose output differs, in words."""
    for layer, differences in enumerate(found.layers):
        if not differences[step] < TOLERANCE:
            return f"the output of {subject.kind(layer)}"
    return "the end of the decoder"
