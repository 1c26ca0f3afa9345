"""`job=select_layer`: the paper's protocol for the selection layer (A.2), on a small subset."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from omegaconf import DictConfig, OmegaConf

from ..analysis.layer_choice import LayerScore, report_choice
from ..api import layers_for, resolve_layers
from ..checks import check_at_least
from ..configuration.build import build_model_spec, build_policy, build_trainer
from ..configuration.waiting import SHARED
from ..models.loading import ModelSpec
from ..runs.key import run_key
from ..runs.read import SELECT_LAYER as FOLDER
from ..runs.read import Run, load_run
from . import predict, side_by_side

log = logging.getLogger(__name__)

TO_BE_CHOSEN = "?"
"""In the place of the layer, in what tells one question from another."""


def run(
    cfg: DictConfig,
    layers: Sequence[int] | None = None,
    stage: str = "select",
    limit: int = 300,
    subset_seed: int = 0,
) -> None:
    """Predicts the same samples with the stage at each layer; the best mean score wins.

    Of equal scores the earlier layer wins, since it prunes the prefill of more layers. The runs are
    those of `job=predict`: they resume, and are not computed twice. They lie in a folder of their
    own for each question (model, data, policy and all else but the layer), with what was chosen:
    among other runs they would look like results, and the next question's choice would replace it.

    Args:
        cfg: the root configuration; `model`, `data` and `policy` say what is tried.
        layers: 0-based decoder layers; None = all from 1 on.
        stage: name of the policy's stage.
        limit, subset_seed: the subset, where `data.limit` and `data.subset_seed` are null.

    Raises:
        ValueError: a layer, the stage or anything in `cfg` does not fit; before weights are loaded.
    """
    subset = of_subset(cfg, limit, subset_seed)
    spec = build_model_spec(subset)
    spec.check()
    configs = _of_layers(subset, spec, layers, stage)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)  # advice on loggers
    if build_trainer(subset, []).world_size > 1:
        raise ValueError(
            "job=select_layer runs layer after layer, which several processes cannot do together: "
            "use one device (trainer=gpu or trainer=cpu)"
        )
    fingerprint = spec.fingerprint()
    question = question_key(subset, fingerprint, stage)
    parent = Path(cfg.paths.output_dir).expanduser() / cfg.experiment_name / FOLDER
    folder = parent / question
    for config in configs.values():
        config.paths.output_dir, config.experiment_name = str(parent), question
    _predict(configs)
    finished = [
        (layer, load_run(folder / run_key(config, fingerprint)))
        for layer, config in configs.items()
    ]
    tried = [_layer_score(layer, done) for layer, done in finished]
    chosen = max(tried, key=lambda item: (item.score, -item.layer))
    report_choice(folder, subset.data.subset_seed, stage, tried, chosen, finished[0][1])


def _predict(configs: Mapping[int, DictConfig]) -> None:
    """Side by side the layers before the first of them run once; else one after the other."""
    if all(config.sweep == SHARED for config in configs.values()):
        log.info("layers %s side by side", ", ".join(map(str, configs)))
        for error in filter(None, side_by_side.run(list(configs.values()))):
            raise error
        return
    for number, (layer, config) in enumerate(configs.items(), start=1):
        log.info("layer %d, %d of %d", layer, number, len(configs))
        predict.run(config)


def question_key(cfg: DictConfig, fingerprint: str, stage: str) -> str:
    """The key that the runs of one question have but for the layer."""
    question = copy.deepcopy(cfg)
    OmegaConf.update(question, f"policy.stages.{stage}.layer", TO_BE_CHOSEN)
    return run_key(question, fingerprint)


def of_subset(cfg: DictConfig, limit: int, subset_seed: int) -> DictConfig:
    """The configuration with a subset chosen."""
    check_at_least("job.limit", limit, 1)
    check_at_least("job.subset_seed", subset_seed, 0)
    subset = copy.deepcopy(cfg)
    if subset.data.limit is None:
        subset.data.limit = limit
    if subset.data.subset_seed is None:
        subset.data.subset_seed = subset_seed
    return subset


def _of_layers(
    cfg: DictConfig, spec: ModelSpec, layers: Sequence[int] | None, stage: str
) -> dict[int, DictConfig]:
    """The configuration for each layer, ascending; all are checked."""
    stages = cfg.policy.get("stages") or {}
    if stage not in stages:
        raise ValueError(
            f"job.stage is {stage!r}: policy {cfg.policy.name!r} has the stages {sorted(stages)}"
        )
    if layers is None:
        layers = [layer for layer in layers_for(build_policy(cfg), stage, spec) if layer]
    if not layers:
        raise ValueError("job.layers is empty: give at least one layer, or null for all from 1 on")
    configs = {}
    for layer in sorted(set(layers)):
        check_at_least("job.layers", layer, 0)
        configs[layer] = copy.deepcopy(cfg)
        OmegaConf.update(configs[layer], f"policy.stages.{stage}.layer", layer)
        resolve_layers(build_policy(configs[layer]), spec)
    return configs


def _layer_score(layer: int, done: Run) -> LayerScore:
    scores = {name: score.value for name, score in done.shown.items() if score.value is not None}
    if not scores:
        raise ValueError(f"run {done.key} has no score: all of its {done.n} samples failed")
    return LayerScore(layer, fmean(scores.values()), scores, done.average_tokens, done.key)
