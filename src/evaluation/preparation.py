"""Everything that can go wrong before weights are loaded, and all that is read of `cfg`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import torch
from hydra.core.hydra_config import HydraConfig
from lightning import seed_everything
from omegaconf import DictConfig, OmegaConf
from transformers import ProcessorMixin

from ..api import resolve_layers
from ..checks import check_at_least
from ..configuration.build import (
    TrainerPlan,
    build_decoding,
    build_judge,
    build_logger,
    build_model_spec,
    build_policy,
    build_source,
    plan_trainer,
)
from ..configuration.experiments import check_expanded
from ..data.datamodule import PredictData
from ..data.prompts import check_prompts, for_benchmark
from ..judge import Judge
from ..metrics.aggregators import MEAN, unscorable
from ..metrics.parsers import DEFAULT_PARSER
from ..metrics.scoring import check_parser
from ..models.decoding import Decoding
from ..models.loading import ModelSpec
from ..models.registry import family_named
from ..policy import PruningPolicy
from ..report.loggers import RunLogger
from ..runs.directory import RunDirectory
from ..runs.finished import State
from ..runs.key import as_file_name, code_of_run, run_key
from ..runs.results import scored_samples
from .marking import inputs_of


@dataclass(frozen=True)
class Plan:
    """The parts of a run, each checked: all that later steps need of the configuration.

    Attributes:
        layers: the layer of each stage in this model.
        attention: the implementation of attention.
        trainer: makes the Trainer.
        parser: how answers are read, `data.parser`.
        metrics: how scores are put together, `data.metrics`.
        shown: ids of the samples that get a picture.
        cache_dir: where replies of a judge are kept.
        origin: what the results come from.
        inputs: files of weights and data as they were before they were read; None where not all
            are known.
    """

    policy: PruningPolicy
    layers: dict[str, int]
    spec: ModelSpec
    attention: str
    decoding: Decoding
    processor: ProcessorMixin
    data: PredictData
    trainer: TrainerPlan
    logger: RunLogger
    judge: Judge
    parser: str
    metrics: str
    shown: list[str]
    cache_dir: Path
    origin: Origin
    inputs: dict[str, State] | None
    run_dir: RunDirectory

    @property
    def label(self) -> str:
        """What the run is called while it goes on."""
        return f"{self.policy.name} · {self.spec.name} · {self.data.source.name}"

    def called_by(self, overrides: Sequence[str]) -> Plan:
        """The same plan, of a command line that set this."""
        return replace(self, origin=replace(self.origin, overrides=list(overrides)))


@dataclass(frozen=True)
class Origin:
    """What a run notes of where its results come from.

    Attributes:
        config: the resolved configuration, as YAML.
        overrides: what the command line set.
        weights: their fingerprint.
        code: a digest of every module that results depend on.
    """

    config: str
    overrides: list[str]
    weights: str
    code: dict[str, str]

    def as_config(self) -> DictConfig:
        """The configuration as it was noted."""
        return cast(DictConfig, OmegaConf.create(self.config))


def _check_family(cfg: DictConfig) -> None:
    """Policies take the settings of `family`, which a model's file sets beside its own."""
    if cfg.model.family != cfg.family.name:
        raise ValueError(
            f"model.family is {cfg.model.family!r}, but the policy has the settings of "
            f"{cfg.family.name!r}: choose a model=<name> of that family instead of setting "
            "model.family, or put `override /family@_global_.family` into your model's file"
        )


def prepare(cfg: DictConfig) -> Plan:
    """Instantiates and checks all parts but the model; the cheapest checks come first.

    Seeds the random numbers of the process and sets its threads, which parts may depend on.

    Raises:
        ValueError, FileNotFoundError: the configuration cannot work; one sentence says why.
    """
    settle_process(cfg)
    trainer = plan_trainer(cfg)
    check_at_least("overlays", cfg.overlays, 0)
    if as_file_name(cfg.experiment_name) != cfg.experiment_name:
        raise ValueError(
            f"experiment_name is {cfg.experiment_name!r}: it names a folder, so use letters, "
            "digits and . _ = + -"
        )
    check_expanded(cfg)
    _check_family(cfg)
    policy, spec, decoding = build_policy(cfg), build_model_spec(cfg), build_decoding(cfg)
    source, logger, judge = build_source(cfg), build_logger(cfg), build_judge(cfg)
    logger.check()
    spec.check()
    inputs = inputs_of(spec, source)
    layers = resolve_layers(policy, spec)
    processor = spec.load_processor()
    prompts = for_benchmark(spec.prompts, source.name)
    cache_dir = Path(cfg.paths.cache_dir).expanduser()
    data = PredictData(
        source=source,
        family=family_named(spec.family),
        processor=processor,
        prompts=prompts,
        batch_size=cfg.batch_size,
        cache_dir=cache_dir,
        limit=cfg.data.limit,
        subset_seed=cfg.data.subset_seed,
        num_workers=cfg.num_workers,
    )
    data.setup()
    check_prompts(prompts, data.tasks, spec.name)
    parser, metrics = cfg.data.get("parser", DEFAULT_PARSER), cfg.data.get("metrics", MEAN)
    check_parser(parser, data.tasks)
    data.refuse(unscorable(metrics, scored_samples(data.selected)))
    weights = spec.fingerprint()
    return Plan(
        policy=policy,
        layers=layers,
        spec=spec,
        attention=cfg.attention,
        decoding=decoding,
        processor=processor,
        data=data,
        trainer=trainer,
        logger=logger,
        judge=judge,
        parser=parser,
        metrics=metrics,
        shown=data.ids[: cfg.overlays],
        cache_dir=cache_dir,
        origin=_origin(cfg, weights),
        inputs=inputs,
        run_dir=_run_dir(cfg, weights),
    )


def with_policy_of(cfg: DictConfig, plan: Plan) -> Plan:
    """The plan of a configuration that differs from another one's in its policy alone.

    What it has in common with `plan` is neither loaded nor checked again.

    Raises:
        ValueError: the policy cannot work.
    """
    policy, weights = build_policy(cfg), plan.origin.weights
    return replace(
        plan,
        policy=policy,
        layers=resolve_layers(policy, plan.spec),
        data=plan.data.for_another_run(),
        origin=_origin(cfg, weights),
        run_dir=_run_dir(cfg, weights),
    )


def _run_dir(cfg: DictConfig, weights: str) -> RunDirectory:
    experiment = Path(cfg.paths.output_dir).expanduser() / cfg.experiment_name
    return RunDirectory(experiment / run_key(cfg, weights))


def settle_process(cfg: DictConfig) -> None:
    """Seeds the random numbers of this process and sets how many threads it has.

    Raises:
        ValueError: `threads` is out of range.
    """
    seed_everything(cfg.seed, verbose=False)
    if cfg.threads is not None:
        check_at_least("threads", cfg.threads, 1)
        torch.set_num_threads(cfg.threads)


def _origin(cfg: DictConfig, weights: str) -> Origin:
    overrides = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    return Origin(
        config=OmegaConf.to_yaml(cfg, resolve=True),
        overrides=list(overrides),
        weights=weights,
        code=code_of_run(cfg),
    )
