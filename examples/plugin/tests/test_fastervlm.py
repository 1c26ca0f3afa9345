"""FasterVLM keeps the contract of ivcprune's selectors, and its own definition."""

from dataclasses import replace

import pytest
import torch
from ivcprune import load_policy, prune
from ivcprune.testing import RecordedSample, check_selector, recorded_tokens, tiny_model
from ivcprune.testing.inputs import ragged_batch

from ivcprune_fastervlm import FasterVLMSelector

RECEIVED = [0.1, 0.4, 0.05, 0.4, 0.02, 0.03]
"""Attention of the class token to a row of six visual tokens."""


def kept(selector):
    tokens = recorded_tokens([RecordedSample(((2, 3),))])
    # class token or mean of all, early or late, token
    table = torch.rand(1, 2, 2, 6)
    table[0, 0, 1] = torch.tensor(RECEIVED)
    signals = replace(tokens.signals, tower_attention=table)
    return selector.select(tokens.with_signals(signals, selector.needs))[0].nonzero()[:, 0].tolist()


@pytest.mark.parametrize("keep", [0.5, 7, 1.0])
def test_contract(keep):
    check_selector(FasterVLMSelector(keep=keep))


def test_the_most_attended_stay_and_ties_go_to_the_first():
    assert kept(FasterVLMSelector(keep=1)) == [1]
    assert kept(FasterVLMSelector(keep=3)) == [0, 1, 3]
    assert kept(FasterVLMSelector(keep=0.5)) == [0, 1, 3]


def test_the_shipped_policy_halves_the_tokens_of_a_model():
    model, processor = tiny_model("llava")
    with prune(model, load_policy("fastervlm", "positions=reassign")) as run, torch.no_grad():
        model(**ragged_batch(processor))
    for before, after in zip(run.stats.n_visual, run.stats.kept, strict=True):
        assert len(after) == before // 2
