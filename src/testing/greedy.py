"""Greedy generation with logits, and how far a pruned model's are from the reference's."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from ..models.base import Family
from ..policy import BoundPolicy
from ..pruning.pruner import Pruner
from .reference import Spy, masked

STEPS = 4
"""Tokens that `generate` adds."""


def generate(model: Any, inputs: Mapping[str, Any], steps: int = STEPS, **options: Any) -> Any:
    """Greedy generation of so many tokens, with the logits of each step."""
    return model.generate(
        **inputs,
        max_new_tokens=steps,
        min_new_tokens=steps,
        do_sample=False,
        output_logits=True,
        return_dict_in_generate=True,
        **options,
    )


@dataclass(frozen=True)
class Comparison:
    """Pruned generation beside that of the model which cannot see the dropped tokens.

    Attributes:
        differences: largest one of the logits, by step, relative to the largest of them; the first
            is of the prompt.
        layers: the same for the last token's output of each layer, by step.
        same_tokens: both generate the same.
        run: the pruner, with its statistics.
        kept: what stays after the last stage, bool `[B, S]`.
    """

    differences: list[float]
    layers: list[list[float]]
    same_tokens: bool
    run: Pruner
    kept: Tensor


def compared(
    model: Any,
    family: Family,
    inputs: Mapping[str, Any],
    policy: BoundPolicy,
    visual: Tensor,
    steps: int = STEPS,
) -> Comparison:
    """Generates twice.

    Args:
        inputs: left-padded, with an `attention_mask`.
        policy: with stages.
        visual: visual tokens of the input, bool `[B, S]`.
        steps: tokens to generate.
    """
    spies = [Spy(stage.selector) for stage in policy.stages]
    spied = zip(policy.stages, spies, strict=True)
    policy = replace(policy, stages=tuple(replace(s, selector=spy) for s, spy in spied))
    layers = family.layers(model)
    run = Pruner(model, family, policy)
    with run, _LastOutputs(layers) as ours:
        pruned = generate(model, inputs, steps)
    kept = [_in_sequence(spy.log[0], visual) for spy in spies]
    decoder, real = family.text_model(model), inputs["attention_mask"].bool()
    with masked(decoder, policy, visual, kept, real), _LastOutputs(layers) as theirs:
        reference = generate(model, inputs, steps)
    return Comparison(
        differences=list(map(_largest, pruned.logits, reference.logits)),
        layers=[list(map(_largest, *both)) for both in zip(ours.seen, theirs.seen, strict=True)],
        same_tokens=torch.equal(pruned.sequences, reference.sequences),
        run=run,
        kept=kept[-1],
    )


def _in_sequence(tokens: list[tuple[int, int]], like: Tensor) -> Tensor:
    keep = torch.zeros_like(like)
    for sample, index in tokens:
        keep[sample, index] = True
    return keep


def _largest(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference, as a share of the largest number where that is above 1."""
    return float((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1))


@dataclass
class _LastOutputs(AbstractContextManager["_LastOutputs"]):
    """What layers make of the last token, `[B, E]`, for each call of theirs."""

    layers: nn.ModuleList
    seen: list[list[Tensor]] = field(default_factory=list)

    def __enter__(self) -> _LastOutputs:
        self.seen = [[] for _ in self.layers]
        self._hooks = [
            layer.register_forward_hook(self._recorder(outputs))
            for layer, outputs in zip(self.layers, self.seen, strict=True)
        ]
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    @staticmethod
    def _recorder(outputs: list[Tensor]) -> Any:
        def record(module: nn.Module, args: Any, output: Any) -> None:
            outputs.append((output if isinstance(output, Tensor) else output[0])[:, -1])

        return record
