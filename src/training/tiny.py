"""`job=train_tiny`: train the bundled model from scratch on scenes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from lightning import LightningDataModule, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.strategies import DDPStrategy
from torch.utils.data import DataLoader

from ..data.sample import Sample
from ..data.scenes import load_scenes
from ..models.processors import ImageTextProcessor
from .batches import Batch, Packer, SceneStream
from .module import TinyModule
from .tiny_model import build_model, build_processor


class TinyData(LightningDataModule):
    """Endless training batches and a fixed set of validation samples."""

    def __init__(
        self,
        processor: ImageTextProcessor,
        *,
        batch_size: int,
        steps: int,
        seed: int,
        validation_samples: int,
        cache_dir: Path,
    ) -> None:
        super().__init__()
        self.packer = Packer(processor)
        self.batch_size = batch_size
        self.steps = steps
        self.seed = seed
        self.validation_samples = validation_samples
        self.cache_dir = cache_dir

    def train_dataloader(self) -> DataLoader[Batch]:
        trainer = self._trainer()
        stream = SceneStream(
            self.packer,
            batch_size=self.batch_size // trainer.world_size,
            steps=self.steps,
            seed=self.seed,
            rank=trainer.global_rank,
            start=trainer.global_step,
        )
        return DataLoader(stream, batch_size=None)

    def val_dataloader(self) -> DataLoader[Any]:
        rows = load_scenes("validation", self.validation_samples, cache_dir=self.cache_dir)
        trainer = self._trainer()
        mine = rows.shard(trainer.world_size, trainer.global_rank, contiguous=True)
        return DataLoader(
            [Sample.from_row(row) for row in mine], batch_size=50, collate_fn=list
        )

    def _trainer(self) -> Trainer:
        if self.trainer is None:
            raise RuntimeError("TinyData is used through a Trainer, which knows rank and step.")
        return self.trainer


def run(
    cfg: Any,
    *,
    output_dir: str,
    steps: int,
    batch_size: int,
    lr: float,
    warmup: int,
    decay: float,
    weight_decay: float,
    clip: float,
    probe_layer: int,
    probe_until: float,
    validate_every: int,
    validation_samples: int,
    processes: int,
    precision: str,
    seed: int,
    resume: str | None = None,
) -> Path:
    """Train and save the model; returns the folder of the checkpoint.
    """
    folder = Path(output_dir)
    seed_everything(seed)
    processor = build_processor()
    model = build_model(processor)
    # On CPU, training at these sizes is 1.7 times as fast without fused attention.
    model.set_attn_implementation("eager")
    module = TinyModule(
        model,
        processor,
        steps=steps,
        lr=lr,
        warmup=warmup,
        decay=decay,
        weight_decay=weight_decay,
        probe_layer=probe_layer,
        probe_until=probe_until,
    )
    data = TinyData(
        processor,
        batch_size=batch_size,
        steps=steps,
        seed=seed,
        validation_samples=validation_samples,
        cache_dir=folder / "cache",
    )
    trainer = Trainer(
        accelerator="cpu",
        devices=processes,
        strategy=DDPStrategy(process_group_backend="gloo", start_method="spawn")
        if processes > 1
        else "auto",
        precision=precision,
        max_steps=steps,
        gradient_clip_val=clip,
        val_check_interval=validate_every,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        log_every_n_steps=25,
        logger=CSVLogger(folder, name="", version="log"),
        callbacks=[
            ModelCheckpoint(
                folder / "checkpoints",
                filename="{step}",
                every_n_train_steps=validate_every,
                save_top_k=1,
                monitor="step",
                mode="max",
            )
        ],
    )
    started = time.perf_counter()
    trainer.fit(module, data, ckpt_path=resume)
    seconds = time.perf_counter() - started
    checkpoint = folder / "tiny"
    module.model.to(torch.bfloat16).save_pretrained(checkpoint)
    processor.save_pretrained(checkpoint)
    print(f"{steps} steps in {seconds:.0f} s; checkpoint: {checkpoint}")
    return checkpoint
