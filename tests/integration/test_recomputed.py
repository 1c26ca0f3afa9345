"""`cache: recomputed`: chosen at a middle layer, and yet as if never in the input."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from ivcprune import PruningPolicy, Stage, prune
from ivcprune.models.registry import supported
from ivcprune.selectors import FastVSelector, RandomSelector, Selector
from ivcprune.testing import tiny_model
from ivcprune.testing.reference import Spy
from layer_helpers import cached
from pruning_helpers import generate, ragged_batch


@dataclass(frozen=True)
class Fixed(Selector):
    """Keeps these (sample, index)."""

    kept: tuple[tuple[int, int], ...]

    def select(self, tokens):
        keep = torch.zeros(tokens.shape, dtype=torch.bool)
        for sample, index in self.kept:
            keep |= (tokens.sample == sample)[:, None] & (tokens.index == index)
        return keep


@pytest.mark.parametrize("family", supported())
def test_equals_the_same_tokens_dropped_at_the_input(family):
    model, processor = tiny_model(family)
    inputs = ragged_batch(processor)
    spy = Spy(FastVSelector(keep=0.4))
    with prune(model, PruningPolicy({"select": Stage(2, spy)}, cache="recomputed")) as run:
        chosen = generate(model, inputs)
    at_input = PruningPolicy({"select": Stage(0, Fixed(tuple(spy.log[0])))})
    with prune(model, at_input) as given:
        expected = generate(model, inputs)
    for ours, theirs in zip(chosen.logits, expected.logits, strict=True):
        assert (ours - theirs).abs().max() < 1e-5
    assert torch.equal(run.stats.kv_tokens, given.stats.kv_tokens)
    assert run.stats.average_tokens == given.stats.average_tokens < 0.7
    for index in cached(model):
        layers = (output.past_key_values.layers[index] for output in (chosen, expected))
        assert len({layer.keys.shape[2] for layer in layers}) == 1


def test_differs_from_dropping_the_caches_only():
    model, processor = tiny_model("qwen2_5_vl")
    logits = []
    for cache in ("recomputed", "all_layers"):
        policy = PruningPolicy({"select": Stage(2, RandomSelector(keep=0.4))}, cache=cache)
        with prune(model, policy), torch.no_grad():
            logits.append(model(**ragged_batch(processor)).logits[:, -1])
    assert (logits[0] - logits[1]).abs().max() > 1e-3


def test_several_stages_are_refused():
    stages = {"a": Stage(1, RandomSelector()), "b": Stage(2, RandomSelector())}
    with pytest.raises(ValueError, match="'recomputed' with the 2 stages a, b"):
        PruningPolicy(stages, cache="recomputed")


def test_every_prefill_in_a_block_is_told():
    model, processor = tiny_model("qwen2_5_vl")
    seen = []
    policy = PruningPolicy({"select": Stage(2, RandomSelector(keep=0.4))}, cache="recomputed")
    with prune(model, policy, on_prefill=seen.append) as run:
        for _ in range(2):
            generate(model, ragged_batch(processor))
    assert len(seen) == 2
    assert seen[-1] is run.stats
