"""Jobs of a sweep that wait for each other, to be one pass: those that differ in policy alone."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import configure_log, env_override
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

SHARED = "shared"
SWEEPS = (SHARED, "separate")
"""Values of the setting `sweep`."""
_ONE_AFTER_THE_OTHER = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"
"""Other launchers give each job a process of its own."""
OF_POLICY = ("policy", "ivc")
"""Keys of the root configuration that say what the policy is, and nothing else."""


@dataclass(frozen=True)
class WaitingJob:
    """A job that was composed and did not run.

    Attributes:
        hydra: Hydra's own settings of that job, a DictConfig that it declares to be a HydraConf.
    """

    cfg: DictConfig
    hydra: Any

    @property
    def overrides(self) -> list[str]:
        """Of the command line, one value of each sweep."""
        return list(self.hydra.overrides.task)

    @contextmanager
    def surroundings(self) -> Iterator[None]:
        """What Hydra sets around a job: the log, and environment variables."""
        configure_log(OmegaConf.create(self.hydra.job_logging), self.hydra.verbose)
        with env_override(self.hydra.job.env_set):
            yield


def can_wait(cfg: DictConfig, jobs: Collection[str]) -> bool:
    """Whether the running job may be computed together with others of its sweep.

    Args:
        jobs: the `_target_` of jobs that can.
    """
    hydra = HydraConfig.get()
    return (
        hydra.mode == RunMode.MULTIRUN
        and cfg.sweep == SHARED
        and cfg.job._target_ in jobs
        and hydra.launcher._target_ == _ONE_AFTER_THE_OTHER
        and not hydra.job.chdir
    )


def together(jobs: Sequence[WaitingJob]) -> list[list[WaitingJob]]:
    """The jobs in passes: whatever is no matter of the policy is the same in one."""
    passes: dict[str, list[WaitingJob]] = {}
    for job in jobs:
        settings = OmegaConf.to_container(job.cfg, resolve=True)
        assert isinstance(settings, dict)
        for name in OF_POLICY:
            settings.pop(name)
        key = json.dumps(settings, sort_keys=True, default=str)
        passes.setdefault(key, []).append(job)
    return list(passes.values())
