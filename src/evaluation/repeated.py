"""A command that is repeated after its run was finished: what it printed, without PyTorch."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from omegaconf import DictConfig

from ..runs.directory import RunDirectory
from ..runs.finished import marked
from ..runs.read import read_metrics
from .log_file import log_file
from .summary import print_summary

log = logging.getLogger(__name__)

SEVERAL_PROCESSES = ("RANK", "LOCAL_RANK", "SLURM_PROCID")
"""Set where a launcher starts the command once for each process, of which one only may print."""


def told_finished(cfg: DictConfig) -> bool:
    """Prints the results of a run that has nothing left to compute; False without such a run.

    Args:
        cfg: the root configuration of `job=predict`.

    Raises:
        ValueError: `metrics.json` is not what a run writes.
        BlockingIOError: another process is at the run.
    """
    if any(name in os.environ for name in SEVERAL_PROCESSES):
        return False
    folder = marked(Path(cfg.paths.output_dir).expanduser() / cfg.experiment_name, cfg)
    if folder is None:
        return False
    run_dir = RunDirectory(folder)
    with run_dir.lock(0), log_file(run_dir):
        log.info("already finished: nothing to compute")
        print_summary(read_metrics(folder))
        log.info("results: %s", folder)
    return True
