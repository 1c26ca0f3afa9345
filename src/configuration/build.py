"""From configuration to objects: the only module that composes with Hydra and instantiates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import yaml
from hydra import compose as hydra_compose
from hydra.errors import HydraException, InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from .explain import explain
from .hydra_app import COMPOSING, own_hydra
from .policy_files import is_file_name, place_of
from .settings import check_settings
from .swaps import add_coordinates, named_by_swaps

if TYPE_CHECKING:
    from lightning import Callback, Trainer

    from ..data.sources import Source
    from ..judge import Judge
    from ..models.decoding import Decoding
    from ..models.loading import ModelSpec
    from ..policy import PruningPolicy
    from ..report.loggers import RunLogger

SELECTION_KEYS = ("limit", "subset_seed", "metrics", "parser")
"""Keys of a data configuration that choose and score samples; they are no fields of the source."""


def compose(overrides: Sequence[str], search_path: Sequence[str] = ()) -> DictConfig:
    """The root configuration; works inside a running Hydra app, which it leaves as it was.

    Args:
        search_path: where configurations are looked for after ours, see `own_hydra`.

    Raises:
        ValueError: an override does not fit; one sentence with the choices.
    """
    try:
        with own_hydra(search_path):
            return completed(hydra_compose("config", overrides=list(overrides)), overrides)
    except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
        raise ValueError(explain(error)) from error


def completed(cfg: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """A composed configuration, its plain values checked and its policy named by what it does.

    Args:
        overrides: that it was composed with.

    Raises:
        ValueError: a value that no job can use.
    """
    check_settings(cfg)
    if cfg.get("generation") is not None:
        build_decoding(cfg)  # needs no PyTorch, so that its mistakes show at once
    policy = cfg.get("policy")
    if policy is not None and "name" in policy:
        policy.name = named_by_swaps(str(policy.name), policy.get("stages") or (), overrides)
        if cfg.get("ivc") or policy.get("ivc"):
            add_coordinates(policy, overrides)
    return cfg


def compose_policy(
    name: str, overrides: Sequence[str] = (), family: str | None = None, ivc: bool = False
) -> PruningPolicy:
    """The policy `conf/policy/<name>.yaml`, with overrides such as "stages.select.layer=3".

    It is composed once in a process, and every call gets a copy of its own; from any thread.

    Args:
        overrides: paths are relative to the policy; a selector is swapped by
            "selector@stages.select.selector=random".
        family: name of a model family; it must be a supported one.
        ivc: add the implicit visual coordinates.

    Raises:
        ValueError: unknown name, override or family, or a value that a component refuses.
    """
    settings = [*map(_of_policy, overrides)]
    if family is not None:
        settings.append(f"family={family}")
    if ivc:
        settings.append("ivc=true")
    with COMPOSING:
        if is_file_name(name):  # which may change
            return build_policy(compose_with_policy(name, settings))
        return deepcopy(_composed_policy((f"policy={name}", *settings)))


def compose_with_policy(name: str, overrides: Sequence[str]) -> DictConfig:
    """The root configuration with a policy, by its name or its file.

    Raises:
        ValueError: there is no such policy, or an override does not fit.
    """
    named, *search_path = place_of(name) if is_file_name(name) else (name,)
    return compose([f"policy={named}", *overrides], search_path)


@lru_cache(maxsize=256)
def _composed_policy(overrides: tuple[str, ...]) -> PruningPolicy:
    return build_policy(compose(overrides))


def build_job(cfg: DictConfig) -> Callable[[DictConfig], object]:
    """The function that `job=<name>` names, its own options applied."""
    job: Callable[[DictConfig], object] = _build(cfg, "job")
    return job


def build_policy(cfg: DictConfig) -> PruningPolicy:
    policy: PruningPolicy = _build(cfg, "policy")
    return policy


def build_model_spec(cfg: DictConfig) -> ModelSpec:
    spec: ModelSpec = _build(cfg, "model")
    return spec


def build_decoding(cfg: DictConfig) -> Decoding:
    decoding: Decoding = _build(cfg, "generation")
    return decoding


def build_source(cfg: DictConfig) -> Source:
    source: Source = _build(cfg, "data", without=SELECTION_KEYS)
    return source


def build_logger(cfg: DictConfig) -> RunLogger:
    logger: RunLogger = _build(cfg, "logger")
    return logger


def build_judge(cfg: DictConfig) -> Judge:
    judge: Judge = _build(cfg, "judge")
    return judge


def build_trainer(cfg: DictConfig, callbacks: list[Callback]) -> Trainer:
    """Lightning's Trainer; impossible devices raise ValueError."""
    return plan_trainer(cfg).build(callbacks)


def plan_trainer(cfg: DictConfig) -> TrainerPlan:
    """How the Trainer will be made; a GPU that is not there raises ValueError now."""
    check_accelerator(cfg)
    make = _build(cfg, "trainer", _partial_=True)
    return TrainerPlan(make, make.keywords.get("devices"))


@dataclass(frozen=True)
class TrainerPlan:
    """Lightning's Trainer with its settings, but for callbacks.

    Attributes:
        devices: `trainer.devices`.
    """

    make: Callable[..., Trainer]
    devices: object

    def on(self, devices: object) -> TrainerPlan:
        """The same on other devices."""
        return TrainerPlan(partial(self.make, devices=devices), devices)

    def build(self, callbacks: list[Callback]) -> Trainer:
        """The Trainer; impossible devices raise ValueError."""
        from lightning.fabric.utilities.exceptions import MisconfigurationException

        try:
            return self.make(callbacks=callbacks)
        except MisconfigurationException as error:
            raise ValueError(f"trainer: {error}") from error


def check_accelerator(cfg: DictConfig) -> None:
    """Raises ValueError where the trainer is to use a GPU and there is none."""
    import torch

    wanted = cfg.trainer.get("accelerator")
    has_gpu = torch.cuda.is_available() or (wanted == "gpu" and torch.backends.mps.is_available())
    if wanted in ("gpu", "cuda") and not has_gpu:
        raise ValueError(
            f"trainer.accelerator is {wanted!r}, but PyTorch finds no GPU on this machine: choose "
            "trainer=auto or trainer=cpu, or install a build of PyTorch that knows your GPU"
        )


def _build(cfg: DictConfig, key: str, without: Sequence[str] = (), **options: Any) -> Any:
    if cfg.get(key) is None:
        raise ValueError(f"the configuration has no {key}: choose one with {key}=<name>")
    resolved: Any = OmegaConf.to_container(cfg, resolve=True)
    config = {name: value for name, value in resolved[key].items() if name not in without}
    try:
        return instantiate(config, _convert_="all", **options)
    except InstantiationException as error:
        raise ValueError(f"{key}: {explain(error)}") from error


def _of_policy(override: str) -> str:
    """An override relative to the policy as one of the root configuration."""
    key = override.lstrip("~+")
    prefix = override.removesuffix(key)
    if "@" in key.partition("=")[0]:
        group, _, package = key.partition("@")
        return f"{prefix}{group}@policy.{package}"
    return f"{prefix}policy.{key}"
