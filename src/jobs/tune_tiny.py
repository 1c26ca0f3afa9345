"""`job=tune_tiny`: go on training a bundled model, with the policy's selection on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning import seed_everything
from omegaconf import DictConfig

from ..configuration.build import build_model_spec, build_policy
from ..models.registry import family_named
from ..training.fit import Fit
from ..training.lessons import AS_IN_THE_BENCHMARK
from ..training.pruned import PrunedTraining
from ..training.turns import TurnMaker


def run(
    cfg: DictConfig, *, lr: float, warmup: int, decay: float, weight_decay: float, **fit: Any
) -> Path:
    """Trains the checkpoint of `model` under `policy`; see `conf/job/tune_tiny.yaml`.

    Args:
        fit: fields of `Fit`.

    Returns:
        The folder of the new checkpoint.

    Raises:
        FileNotFoundError, ValueError: the checkpoint or an option does not fit.
    """
    fitting = Fit(**fit)
    spec, policy = build_model_spec(cfg), build_policy(cfg)
    spec.check()
    seed_everything(cfg.seed, verbose=False)
    processor = spec.load_processor()
    module = PrunedTraining(
        spec.load_model("eager", "cpu").train(),
        processor,
        spec.prompts,
        policy=policy,
        steps=fitting.steps,
        lr=lr,
        warmup=warmup,
        decay=decay,
        weight_decay=weight_decay,
    )
    turns = TurnMaker(family_named(spec.family), processor, spec.prompts)
    lessons = AS_IN_THE_BENCHMARK
    return fitting.run(module, turns, lessons, spec.name, cfg.seed, cfg.paths.cache_dir)
