"""Passes of the evaluation loop over the same samples: how long they take, what they answer."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lightning import Callback, Trainer

from ..data.batch import Batch
from ..data.datamodule import PredictData
from ..evaluation.module import PredictModule
from ..evaluation.predictions import Predictions
from ..policy import PruningPolicy


@dataclass(frozen=True)
class Setting:
    """What a pass is made with.

    Attributes:
        policy: its name.
        batch_size: samples of a model call.
        num_workers: processes that decode and encode images; 0 = in the main process.
    """

    policy: str
    batch_size: int
    num_workers: int


@dataclass(frozen=True)
class Pass:
    """All samples once.

    Attributes:
        seconds: from the call of the loop to its return, start of the workers included, loading
            of the model not.
        padding: share of the sequences' tokens, before pruning, that is padding.
        answers: reply to each sample by its id; samples that failed have none.
        failed: number of these.
    """

    seconds: float
    padding: float
    answers: dict[str, str]
    failed: int

    @property
    def samples_per_second(self) -> float:
        return (len(self.answers) + self.failed) / self.seconds


@dataclass
class Watcher(Callback):
    """Notes what goes through the loop."""

    real: int = 0
    total: int = 0
    answers: dict[str, str] = field(default_factory=dict)
    failed: int = 0

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: Any,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        predictions: Predictions = outputs
        for row in predictions.rows:
            if row.error is None:
                self.answers[row.sample_id] = row.prediction or ""
            else:
                self.failed += 1
        if batch.samples:
            mask = batch.inputs["attention_mask"]
            self.real += int(mask.sum())
            self.total += mask.numel()

    def restart(self) -> None:
        """Forget the pass before."""
        self.real, self.total, self.answers, self.failed = 0, 0, {}, 0


class Loop:
    """The evaluation loop of `job=predict`, run again and again with a model that stays loaded."""

    def __init__(
        self, trainer: Trainer, watcher: Watcher, module: PredictModule, data: PredictData
    ) -> None:
        """`watcher` must be a callback of `trainer`."""
        self._trainer, self._watcher = trainer, watcher
        self._module, self._data = module, data

    def run(self, policy: PruningPolicy, batch_size: int, num_workers: int) -> Pass:
        """One pass; nothing is written."""
        self._module.policy = policy
        self._data.batch_size, self._data.num_workers = batch_size, num_workers
        watcher = self._watcher
        watcher.restart()
        start = time.perf_counter()
        self._trainer.predict(self._module, datamodule=self._data, return_predictions=False)
        seconds = time.perf_counter() - start
        padding = 1 - watcher.real / watcher.total if watcher.total else 0.0
        return Pass(seconds, padding, watcher.answers, watcher.failed)


def in_turns(
    loop: Loop,
    policies: Sequence[PruningPolicy],
    batch_sizes: Sequence[int],
    num_workers: Sequence[int],
    rounds: int,
) -> dict[Setting, list[Pass]]:
    """`rounds` passes with each setting, which take turns; every round begins with another one.

    A pass before all, which is not counted, loads the model and warms it up.
    """
    settings = {
        Setting(policy.name, size, workers): policy
        for policy in policies
        for workers in num_workers
        for size in batch_sizes
    }
    order = list(settings)
    loop.run(policies[0], max(batch_sizes), 0)
    passes: dict[Setting, list[Pass]] = {setting: [] for setting in order}
    for number in range(rounds):
        first = number % len(order)
        for setting in [*order[first:], *order[:first]]:
            done = loop.run(settings[setting], setting.batch_size, setting.num_workers)
            passes[setting].append(done)
    return passes
