"""Writes what a rank predicted, batch by batch."""

from __future__ import annotations

import logging
import signal
from collections.abc import Sequence
from subprocess import Popen
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter

from ..checks import one_line
from ..data.datamodule import PredictData
from ..runs.directory import RunDirectory
from ..runs.key import as_file_name
from ..runs.samples import SampleLog, answered, finished_ids
from ..runs.storage import replacing
from .predictions import Overlay, Predictions

log = logging.getLogger(__name__)


def leave_where_asked(trainer: Trainer) -> None:
    """Ends the process after SIGTERM: Lightning only takes note, and would go on to the end."""
    if trainer.received_sigterm:
        raise SystemExit(128 + signal.SIGTERM)


class SampleWriter(BasePredictionWriter):
    """Appends rows to this rank's file; keeps image and token maps of samples with an overlay."""

    def __init__(self, run_dir: RunDirectory, data: PredictData) -> None:
        super().__init__("batch")
        self._run_dir, self._data = run_dir, data
        self._log: SampleLog | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        # Every rank holds its lock by now. Read at any earlier moment, the files may have grown in
        # between, by a process of a killed run that was still at its last batch: the ranks would
        # deal out different batches.
        data = self._data
        if trainer.is_global_zero:
            data.meet(answered(self._run_dir.sample_files))
        data.finished = trainer.strategy.broadcast(data.finished)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._log = SampleLog(self._run_dir.sample_file(trainer.global_rank))

    def on_predict_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *batch: Any
    ) -> None:
        self.write(outputs)
        leave_where_asked(trainer)

    def write(self, predictions: Predictions) -> None:
        """What a batch came to; when this returns, it is on the disk.

        Raises:
            StorageError: it cannot be written.
        """
        if self._log is None:
            raise RuntimeError("SampleWriter has no file yet: on_predict_start did not run")
        # Before the rows, so that a finished sample has its overlay wherever the run is killed.
        for overlay in predictions.overlays:
            self._write_overlay(overlay)
        self._log.append(predictions.rows)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Waits for the other ranks; one that has gone after its last row is not missed.

        Raises:
            RuntimeError: a process has gone before its samples were finished.
        """
        try:
            trainer.strategy.barrier("all ranks have written")
        except RuntimeError as error:  # what a backend says of a connection that was closed
            self.check_complete(trainer, error)

    def check_complete(self, trainer: Trainer, error: RuntimeError) -> None:
        """After a process left before the others.

        Raises:
            RuntimeError: before its samples were finished.
        """
        ids = set(self._data.ids)
        missing = len(ids - finished_ids(self._run_dir.sample_files))
        if missing:
            raise RuntimeError(_process_gone(trainer, missing, len(ids))) from error
        log.debug("a process left before the others: %s", one_line(error))

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        self._close()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._close()

    def _close(self) -> None:
        if self._log is not None:
            self._log.close()

    def _write_overlay(self, overlay: Overlay) -> None:
        name = as_file_name(overlay.sample_id)
        image_file = f"images/{name}.png"
        with replacing(self._run_dir.path / image_file) as draft:
            overlay.image.save(draft, format="png")
        entry = overlay.entry | {"image_file": image_file}
        self._run_dir.write_json(f"samples/overlays/{name}.json", entry)


def _process_gone(trainer: Trainer, missing: int, total: int) -> str:
    """What is known of the processes that this one started, if it started any."""
    started: Sequence[Popen[bytes]] = getattr(trainer.strategy.launcher, "procs", ())
    ends = [f"rank {i} with exit code {p.poll()}" for i, p in enumerate(started, 1) if p.poll()]
    which = ", ".join(ends) or "its own output says which, and why"
    return (
        f"a process of this run ended ({which}) before {missing} of {total} samples were finished: "
        "the same command computes them, once what ended it is mended"
    )
