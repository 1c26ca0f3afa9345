"""Which jobs of a sweep are one pass."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from ivcprune.configuration.build import compose
from ivcprune.configuration.waiting import WaitingJob, together

HYDRA = OmegaConf.create({"overrides": {"task": []}})


def job(*overrides: str) -> WaitingJob:
    return WaitingJob(compose([*overrides]), HYDRA)


def test_what_the_policy_alone_tells_apart_is_one_pass() -> None:
    jobs = [
        job("policy=none"),
        job("policy=none", "seed=1"),
        job("policy=fastv", "policy.average_tokens=0.5"),
        job("policy=fastv", "seed=1"),
        job("policy=ivc_prune", "policy.stages.select.layer=2"),
        job("policy=none", "model.dtype=float32"),
        job("policy=none", "batch_size=4"),
    ]
    numbers = [[jobs.index(one) for one in pass_] for pass_ in together(jobs)]
    assert numbers == [[0, 2, 4], [1, 3], [5], [6]]


def test_a_mode_of_sweeps_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match=r"sweep is 'both': .*separate"):
        compose(["sweep=both"])
