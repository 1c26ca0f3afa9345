"""Fits the tiny model on the processes of a CPU, and keeps what comes out."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path

from lightning import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.strategies import DDPStrategy

from .base import Training
from .curve import plot
from .data import BatchMaker, TinyData
from .lessons import Lessons

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fit:
    """How a training runs, whatever it optimises.

    Attributes:
        output_dir: where a folder of the model's name (the checkpoint for `from_pretrained`,
            weights in bfloat16), `log/version_<n>/metrics.csv` (losses and validation accuracy),
            `curve.png` and `checkpoints/` (to resume from) are written.
        steps: optimiser steps.
        batch_size: images a step, all processes together.
        processes: of one thread each.
        precision: see Lightning's Trainer.
        clip: largest gradient norm.
        validate_every: steps; also saves a checkpoint.
        validation_samples: of all processes together.
        resume: a file in `checkpoints/`.

    Raises:
        ValueError: images or validation samples do not divide among the processes.
    """

    output_dir: str
    steps: int
    batch_size: int
    processes: int
    precision: str
    clip: float
    validate_every: int
    validation_samples: int
    resume: str | None

    def __post_init__(self) -> None:
        _check_divisible("batch_size", self.batch_size, self.processes)
        _check_divisible("validation_samples", self.validation_samples, 2 * self.processes)

    def run(
        self,
        module: Training,
        maker: BatchMaker,
        lessons: Lessons,
        name: str,
        seed: int,
        cache_dir: str,
    ) -> Path:
        """Trains on batches of the maker; returns the folder of the checkpoint.

        Args:
            name: of the model, and so of the checkpoint's folder.
            seed: of the samples.
            cache_dir: where sources keep what they generate.
        """
        data = TinyData(
            maker,
            lessons,
            batch_size=self.batch_size,
            steps=self.steps,
            seed=seed,
            validation_samples=self.validation_samples,
            cache_dir=Path(cache_dir).expanduser(),
        )
        folder = Path(self.output_dir)
        logger = CSVLogger(folder, name="log")
        # asked for now: afterwards it is the next run's
        metrics = Path(logger.log_dir) / "metrics.csv"
        started = time.perf_counter()
        self._trainer(folder, logger).fit(module, data, ckpt_path=self.resume)
        checkpoint = folder / name
        module.model.bfloat16().save_pretrained(checkpoint)
        module.processor.save_pretrained(checkpoint)
        plot(metrics, folder / "curve.png")
        log.info("%d steps in %.0f s: %s", self.steps, time.perf_counter() - started, checkpoint)
        return checkpoint

    def _trainer(self, folder: Path, logger: CSVLogger) -> Trainer:
        """A Trainer on CPU processes that validates, logs and checkpoints into the folder."""
        saving = ModelCheckpoint(
            folder / "checkpoints",
            monitor="step",
            mode="max",
            every_n_train_steps=self.validate_every,
        )
        parallel = DDPStrategy(process_group_backend="gloo", start_method="spawn")
        return Trainer(
            accelerator="cpu",
            devices=self.processes,
            strategy=parallel if self.processes > 1 else "auto",
            precision=self.precision,  # type: ignore[arg-type]
            max_steps=self.steps,
            gradient_clip_val=self.clip,
            val_check_interval=self.validate_every,
            check_val_every_n_epoch=None,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,  # TinyData gives every process its own samples
            log_every_n_steps=max(1, self.validate_every // 20),
            logger=logger,
            callbacks=[saving],
        )


def _check_divisible(option: str, value: int, unit: int) -> None:
    """Validation samples are of two tasks, and every process reports on both."""
    if value < 1 or value % unit:
        raise ValueError(f"job.{option}={value} does not divide evenly: use a multiple of {unit}")
