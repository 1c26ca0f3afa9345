"""Where a finished run is announced, beside the files in its run directory."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, Protocol

from omegaconf import DictConfig

from .runs import Run, load_runs


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
        rows = [{"run_key": run.key, **summary(run)} for run in load_runs(run_dir.parent)]
        columns = list(dict.fromkeys(column for row in rows for column in row))
        # A name of its own per run: jobs of a sweep may finish at the same moment.
        draft = run_dir.parent / f".summary-{run_dir.name}.csv"
        with draft.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)
        draft.replace(run_dir.parent / "summary.csv")


def summary(run: Run) -> dict[str, Any]:
    """The figures of a run under the names that CSV and W&B use.

    Scores and their 95 % bounds are percentages, `average_tokens` is a share in [0, 1],
    `kv_bytes_per_sample` is in bytes.
    """
    figures: dict[str, Any] = {
        "policy": run.policy,
        "model": run.model,
        "data": run.data,
        "n": run.n,
        "errors": run.errors,
        "average_tokens": run.average_tokens,
        "kv_bytes_per_sample": run.kv_bytes,
    }
    for task, score in run.scores.items():
        figures[f"score/{task}"] = score.value
        figures[f"score/{task}_low"] = score.low
        figures[f"score/{task}_high"] = score.high
        figures[f"score/{task}_n"] = score.n
    return figures
