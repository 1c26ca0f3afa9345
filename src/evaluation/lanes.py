"""Several runs that one pass over the data computes: the files and the state of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lightning import Callback, LightningDataModule, LightningModule, Trainer
from rich.progress import Progress
from torch.utils.data import DataLoader

from ..data.batch import Batch, Collate, Row
from ..data.datamodule import PredictData
from .log_file import log_stop
from .module import PredictModule
from .predictions import Predictions
from .preparation import Plan
from .progress import ProgressReport
from .stopping import record_stop
from .writer import SampleWriter, leave_where_asked


class Lane:
    """A run beside others.

    Attributes:
        error: why it has stopped; None as long as it goes on.
    """

    def __init__(self, plan: Plan, module: PredictModule, bar: Progress) -> None:
        self.plan, self.module = plan, module
        self.writer = SampleWriter(plan.run_dir, plan.data)
        self.progress = ProgressReport(plan.run_dir, plan.data, plan.label, bar)
        self.error: Exception | None = None

    @property
    def goes_on(self) -> bool:
        return self.error is None

    def stop(self, error: Exception) -> None:
        """It has failed, and says so in its files; the others do not take part in that."""
        self.error = error
        log_stop(self.plan.run_dir, error)
        if self.module.global_rank == 0:
            record_stop(self.plan.run_dir, error)

    def unfinished(self, batch: Batch) -> tuple[str, ...]:
        """Ids of the batch's samples, failed ones among them, that this run has no row of."""
        names = [s.id for s in batch.samples] + [f.sample_id for f in batch.failures]
        return tuple(name for name in names if name not in self.plan.data.finished)


def stop_without_lanes(lanes: Sequence[Lane]) -> None:
    """Raises the last error where no lane goes on."""
    errors = [lane.error for lane in lanes if lane.error is not None]
    if lanes and len(errors) == len(lanes):
        raise errors[-1]


class LaneData(LightningDataModule):
    """The samples that any of several runs has not finished, each once."""

    def __init__(self, lanes: Sequence[Lane]) -> None:
        super().__init__()
        self._datas = [lane.plan.data for lane in lanes]

    @property
    def collate(self) -> Collate:
        """The one of all runs."""
        return self._datas[0].collate

    def predict_dataloader(self) -> DataLoader[list[Row]]:
        first: PredictData = self._datas[0]
        first.trainer = self.trainer
        finished = (data.finished for data in self._datas)
        return first.dataloader_without(frozenset.intersection(*finished))


class LaneCallbacks(Callback):
    """Writes what a pass came to, each run's part into its own files.

    Attributes:
        lanes: the runs that take part; their numbers are those of a batch's outputs.
    """

    def __init__(self) -> None:
        self.lanes: list[Lane] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        for lane in self.lanes:
            lane.writer.setup(trainer, pl_module, stage)
            lane.progress.setup(trainer, pl_module, stage)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for lane in self.lanes:
            lane.writer.on_predict_start(trainer, pl_module)
            lane.progress.on_predict_start(trainer, pl_module)

    def on_predict_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *batch: Any
    ) -> None:
        predictions: Mapping[int, Predictions] = outputs
        for number, of_lane in predictions.items():
            lane = self.lanes[number]
            try:
                lane.writer.write(of_lane)
                if trainer.is_global_zero:
                    lane.progress.show(of_lane, trainer.world_size)
            except Exception as error:  # of a full disk, say
                lane.stop(error)
        leave_where_asked(trainer)
        stop_without_lanes(self.lanes)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        try:
            trainer.strategy.barrier("all ranks have written")
        except RuntimeError as gone:  # what a backend says of a connection that was closed
            for lane in [lane for lane in self.lanes if lane.goes_on]:
                _check_complete(lane, trainer, gone)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        for lane in self.lanes:
            lane.writer.on_exception(trainer, pl_module, exception)
            lane.progress.on_exception(trainer, pl_module, exception)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        for lane in self.lanes:
            lane.writer.teardown(trainer, pl_module, stage)
            lane.progress.teardown(trainer, pl_module, stage)


def _check_complete(lane: Lane, trainer: Trainer, gone: RuntimeError) -> None:
    """Stops a lane some of whose samples nobody has computed."""
    try:
        lane.writer.check_complete(trainer, gone)
    except RuntimeError as error:
        lane.stop(error)
