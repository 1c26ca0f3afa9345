"""Value vectors of the layer about to run are those that it then caches."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch

from ivcprune import PruningPolicy, Stage, prune
from ivcprune.models.registry import supported
from ivcprune.selectors import RandomSelector, SeedSelector, Selector, UpcomingSimilaritySelector
from ivcprune.testing import tiny_model
from ivcprune.testing.reference import Spy
from ivcprune.tokens import Signal
from layer_helpers import readable
from pruning_helpers import ragged_batch


@dataclass(frozen=True, eq=False)
class Probe(Selector):
    """Keeps everything, and writes down the values that it gets."""

    found: list = field(default_factory=list)

    needs = frozenset({Signal.VALUES_NEXT})

    def select(self, tokens):
        self.found.append(tokens.next_values())
        return tokens.valid


@dataclass(frozen=True, eq=False)
class Reader(Probe):
    """The same, of the layer that ran last."""

    needs = frozenset({Signal.VALUES})

    def select(self, tokens):
        self.found.append(tokens.sequence_values()[0])
        return tokens.valid


@pytest.mark.parametrize("family", supported())
@pytest.mark.parametrize("layer", [0, 2])
def test_they_are_what_the_layer_caches(family, layer):
    model, processor = tiny_model(family)
    layer = max(layer, readable(model)[0])
    early, probe, reader = RandomSelector(keep=0.7), Probe(), Reader()
    stages = {"at": Stage(layer, probe), "after": Stage(layer + 1, reader)}
    if layer:
        stages["early"] = Stage(layer - 1, early)
    inputs = ragged_batch(processor)
    with prune(model, PruningPolicy(stages, cache="from_stage")), torch.no_grad():
        model(**inputs)
    (before,), (after,) = probe.found, reader.found
    assert before.shape == after.shape
    assert (before - after).abs().max() < 1e-5
    assert before.abs().max() > 1e-3


@pytest.mark.parametrize("family", supported())
def test_before_layer_0_the_choice_is_stage_1s_at_layer_1(family):
    """Value vectors of layer 0 see no other token: what is asked early gets the same answer.

    So it is with the first layer that has some.
    """
    model, processor = tiny_model(family)
    first, kept = readable(model)[0], []
    asked = {first: UpcomingSimilaritySelector(keep=0.3), first + 1: SeedSelector(keep=0.3)}
    for layer, ranking in asked.items():
        spy = Spy(ranking)
        with prune(model, PruningPolicy({"select": Stage(layer, spy)})), torch.no_grad():
            model(**ragged_batch(processor))
        kept.append(spy.log[0])
    assert kept[0] == kept[1]
