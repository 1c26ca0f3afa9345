"""`job=train_tiny`: train a bundled model on the built-in benchmarks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning import seed_everything
from omegaconf import DictConfig

from ..checks import check_choice
from ..configuration.build import build_policy
from ..training.architectures import architecture_named
from ..training.fit import Fit
from ..training.lessons import LESSONS, benchmark_level
from ..training.module import PackedTraining
from ..training.packing import Packer
from ..training.start import take_weights


def run(
    cfg: DictConfig,
    *,
    prompts: Mapping[str, str],
    lessons: str,
    start: str | None,
    lr: float,
    warmup: int,
    decay: float,
    weight_decay: float,
    probe_layer: int,
    probe_until: float,
    **fit: Any,
) -> Path:
    """Trains the architecture that `model` names.

    The options are those of `conf/job/train_tiny.yaml`.

    Args:
        lessons: a key of `LESSONS`.
        start: a checkpoint whose weights are the first ones; None = random ones.
        fit: fields of `Fit`.

    Returns:
        The folder of the checkpoint.

    Raises:
        ValueError: a policy prunes, `model` is no bundled one, or the work does not divide among
            the processes.
    """
    if build_policy(cfg).stages:
        raise ValueError(
            "job=train_tiny packs eight questions into one sequence, where no selection could "
            "follow one of them: train with policy=none, then go on with the selection on by "
            "job=tune_tiny policy=<name> model.path=<the checkpoint>"
        )
    check_choice("job.lessons", lessons, LESSONS)
    fitting = Fit(**fit)
    seed_everything(cfg.seed, verbose=False)
    architecture = architecture_named(cfg.model.name)
    processor = architecture.build_processor()
    model: Any = architecture.build_model(processor)
    taught = LESSONS[lessons]
    if start is not None:
        take_weights(model, processor.tokenizer, start)
        taught = replace(taught, level=benchmark_level)  # it has been through the easier ones
    # Without fused attention, these short sequences train 1.7 times as fast on a CPU.
    model.set_attn_implementation("eager")
    module = PackedTraining(
        model,
        processor,
        dict(prompts),
        steps=fitting.steps,
        lr=lr,
        warmup=warmup,
        decay=decay,
        weight_decay=weight_decay,
        probe_layer=probe_layer,
        probe_until=probe_until,
    )
    packer = Packer(architecture, processor, dict(prompts))
    return fitting.run(module, packer, taught, cfg.model.name, cfg.seed, cfg.paths.cache_dir)
