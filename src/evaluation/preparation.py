"""Everything that can go wrong before weights are loaded."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from omegaconf import DictConfig
from transformers import ProcessorMixin

from ..api import resolve_layers
from ..checks import check_at_least
from ..configuration.build import (
    build_decoding,
    build_judge,
    build_logger,
    build_model_spec,
    build_policy,
    build_source,
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
from ..runs.key import as_file_name, run_key
from ..runs.results import scored_samples


@dataclass(frozen=True)
class Plan:
    """The parts of a run, each checked.

    Attributes:
        layers: the layer of each stage in this model.
        parser: how answers are read, `data.parser`.
        metrics: how scores are put together, `data.metrics`.
    """

    policy: PruningPolicy
    layers: dict[str, int]
    spec: ModelSpec
    decoding: Decoding
    processor: ProcessorMixin
    data: PredictData
    logger: RunLogger
    judge: Judge
    parser: str
    metrics: str
    run_dir: RunDirectory

    @property
    def label(self) -> str:
        """What the run is called while it goes on."""
        return f"{self.policy.name} · {self.spec.name} · {self.data.source.name}"


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

    Raises:
        ValueError, FileNotFoundError: the configuration cannot work; one sentence says why.
    """
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
    layers = resolve_layers(policy, spec)
    processor = spec.load_processor()
    prompts = for_benchmark(spec.prompts, source.name)
    data = PredictData(
        source=source,
        family=family_named(spec.family),
        processor=processor,
        prompts=prompts,
        batch_size=cfg.batch_size,
        cache_dir=Path(cfg.paths.cache_dir).expanduser(),
        limit=cfg.data.limit,
        subset_seed=cfg.data.subset_seed,
        num_workers=cfg.num_workers,
    )
    data.setup()
    check_prompts(prompts, data.tasks, spec.name)
    parser, metrics = cfg.data.get("parser", DEFAULT_PARSER), cfg.data.get("metrics", MEAN)
    check_parser(parser, data.tasks)
    data.refuse(unscorable(metrics, scored_samples(data.selected)))
    run_dir = _run_dir(cfg, spec)
    return Plan(
        policy, layers, spec, decoding, processor, data, logger, judge, parser, metrics, run_dir
    )


def with_policy_of(cfg: DictConfig, plan: Plan) -> Plan:
    """The plan of a configuration that differs from another one's in its policy alone.

    What it has in common with `plan` is neither loaded nor checked again.

    Raises:
        ValueError: the policy cannot work.
    """
    policy = build_policy(cfg)
    return replace(
        plan,
        policy=policy,
        layers=resolve_layers(policy, plan.spec),
        logger=build_logger(cfg),
        data=plan.data.for_another_run(),
        run_dir=_run_dir(cfg, plan.spec),
    )


def _run_dir(cfg: DictConfig, spec: ModelSpec) -> RunDirectory:
    experiment = Path(cfg.paths.output_dir).expanduser() / cfg.experiment_name
    return RunDirectory(experiment / run_key(cfg, spec.fingerprint()))
