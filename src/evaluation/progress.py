"""How far the run is: on the terminal, and in `status.json`."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from lightning import Callback, LightningModule, Trainer
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from ..data.datamodule import PredictData
from ..runs.directory import RunDirectory, new_status, now
from .predictions import Predictions


def progress_bar() -> Progress:
    """A line for each run, with samples/s and the time left."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:.1f} samples/s, left:"),
        TimeRemainingColumn(),
    )


class ProgressReport(Callback):
    """A progress bar with samples/s and time left; `status.json` after every batch.

    Several ranks take the batches in turn, so rank 0 reports its own progress for all.
    """

    def __init__(
        self, run_dir: RunDirectory, data: PredictData, label: str, bar: Progress | None = None
    ) -> None:
        """A report of one run.

        Args:
            bar: of several runs that one pass computes; None = a bar of its own.
        """
        self._run_dir, self._data = run_dir, data
        self._label = label
        self._status = new_status()
        self._seconds_before = 0.0
        self._started = 0.0
        self._computed = 0
        self._bar = progress_bar() if bar is None else bar
        self._task: TaskID | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        data = self._data
        before = self._run_dir.read_status() or self._status
        self._seconds_before = before.seconds
        self._status = replace(
            before,
            state="running",
            total=data.total,
            done=data.total - data.remaining,
            errors=0,
            updated=now(),
        )
        if trainer.is_global_zero:
            self._run_dir.write_status(self._status)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._started = time.perf_counter()
        if trainer.is_global_zero:
            self._bar.start()
            total, done = self._status.total, self._status.done
            self._task = self._bar.add_task(self._label, total=total, completed=done, rate=0.0)

    def on_predict_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *batch: Any
    ) -> None:
        if trainer.is_global_zero:
            self.show(outputs, trainer.world_size)

    def show(self, predictions: Predictions, world_size: int) -> None:
        """What a batch came to, in `status.json` and on the terminal."""
        self._advance(predictions, world_size)
        self._run_dir.write_status(self._status)
        if self._task is not None:
            rate = self._status.samples_per_second
            self._bar.update(self._task, completed=self._status.done, rate=rate)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        self._bar.stop()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._bar.stop()

    def _advance(self, predictions: Predictions, world_size: int) -> None:
        seconds = time.perf_counter() - self._started
        new = len(predictions.rows) * world_size
        self._computed += new
        self._status = replace(
            self._status,
            done=min(self._status.done + new, self._status.total),
            errors=self._status.errors + sum(r.error is not None for r in predictions.rows),
            updated=now(),
            seconds=self._seconds_before + seconds,
            samples_per_second=self._computed / seconds,
        )
