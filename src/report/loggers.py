"""Where a finished run is announced, beside the files in its run directory."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Protocol

from omegaconf import DictConfig

from ..runs.read import load_runs
from .run_summary import summary


class RunLogger(Protocol):
    """Called on one process, once all files of the run are written."""

    def check(self) -> None:
        """Raises ValueError for a wrong setting, before the run starts."""

    def log(self, run_dir: Path, cfg: DictConfig) -> None:
        """Announces the run in `run_dir`, which was configured by the root config `cfg`."""


class NoLogger:
    """The run directory is enough."""

    def check(self) -> None:
        pass

    def log(self, run_dir: Path, cfg: DictConfig) -> None:
        pass


class CsvLogger:
    """Keeps `summary.csv` beside the run directories: one row per finished run.

    The file is written anew from all `metrics.json`, so that a repeated run replaces its row and
    a run with other tasks adds its columns.
    """

    def check(self) -> None:
        pass

    def log(self, run_dir: Path, cfg: DictConfig) -> None:
        runs = load_runs(run_dir.parent)
        rows = [{"run_key": run.key, **summary(run, runs)} for run in runs]
        columns = list(dict.fromkeys(column for row in rows for column in row))
        # A name of its own per run: jobs of a sweep may finish at the same moment.
        draft = run_dir.parent / f".summary-{run_dir.name}.csv"
        with draft.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)
        draft.replace(run_dir.parent / "summary.csv")
