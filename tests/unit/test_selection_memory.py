"""Selections of tens of thousands of tokens (a video of 64 frames) need memory linear in them."""

from __future__ import annotations

import weakref

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ivcprune.api import load_policy
from ivcprune.testing.tokens import RecordedSample, recorded_tokens

CHUNK_BYTES = 3 * 4 * 2**24
"""Logits, weights and what counts of them, of one chunk in float32."""


class LiveBytes(TorchDispatchMode):
    """Bytes of the storages that were made meanwhile and are still alive; their peak."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        given = {x.untyped_storage()._cdata for x in tree_leaves((args, kwargs)) if is_tensor(x)}
        made = function(*args, **kwargs or {})
        for tensor in filter(is_tensor, tree_leaves(made)):
            storage = tensor.untyped_storage()
            if storage._cdata not in self._known | given:
                self._known.add(storage._cdata)
                self.now += storage.nbytes()
                weakref.finalize(storage, self._freed, storage._cdata, storage.nbytes())
        self.peak = max(self.peak, self.now)
        return made

    def _freed(self, name: int, size: int) -> None:
        self._known.discard(name)
        self.now -= size


def is_tensor(x):
    return isinstance(x, torch.Tensor)


def peak_of(policy, side):
    """Most bytes that the policy's first selection holds for an image of side x side tokens."""
    sample = RecordedSample(((side, side),), before=20, after=80)
    stage = next(iter(load_policy(policy, family="qwen2_5_vl").stages.values()))
    tokens = recorded_tokens([sample])
    with LiveBytes() as live:
        keep = stage.selector.select(tokens)
    assert 0 < int(keep.sum()) < side**2
    return live.peak


def test_the_meter_sees_what_is_freed():
    with LiveBytes() as live:
        ones = torch.ones(1000)
        twos = ones + 1
        view = twos[:10]
        del twos
        kept = live.now
        del view
    assert (kept, live.now, live.peak) == (8000, 4000, 8000)


POLICIES = ["fastv", "pdrop", "ivc_prune", "ivc_prune_paper", "window_fastv", "feather"]


@pytest.mark.parametrize("policy", POLICIES)
def test_memory_of_a_selection_is_linear_in_the_tokens_beside_one_chunk(monkeypatch, policy):
    monkeypatch.setattr("ivcprune.tokens.chunks.LARGEST", 2**18)
    assert peak_of(policy, 256) <= 4.3 * peak_of(policy, 128)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_chunk_bounds_what_seeds_and_tokens_multiply_to(policy):
    assert peak_of(policy, 256) <= 1000 * 256**2 + CHUNK_BYTES  # of 656 x 65,536 x 2 similarities
