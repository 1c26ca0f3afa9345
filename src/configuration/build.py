"""From configuration to objects: the only module that composes with Hydra and instantiates."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from functools import cache, lru_cache
from importlib.metadata import EntryPoint, entry_points
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING, Any

import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_module
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.errors import HydraException, InstantiationException, OverrideParseException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.utils import instantiate
from hydra.version import VersionBase
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ..checks import one_line
from .explain import explain

if TYPE_CHECKING:
    from lightning import Callback, Trainer

    from ..data.sources import Source
    from ..judge import Judge
    from ..models.loading import ModelSpec
    from ..policy import PruningPolicy
    from ..report.loggers import RunLogger

CONFIG_MODULE = "ivcprune.conf"
VERSION_BASE = "1.3"
PLUGINS = "ivcprune.conf"
"""Entry-point group whose values are packages with config groups like `selector/*.yaml`."""

SELECTION_KEYS = ("limit", "subset_seed", "metrics", "parser")
"""Keys of a data configuration that choose and score samples; they are no fields of the source."""

_COMPOSING = threading.RLock()
"""Hydra composes with one set of globals for the process: one thread at a time."""


class PluginConfigs(SearchPathPlugin):
    """Adds the config packages of installed plugins AFTER ours: the first match wins."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        ours = f"pkg://{CONFIG_MODULE}"
        if any(item.path == ours for item in search_path.get_path()):
            for plugin in _usable_plugins():
                search_path.append(plugin.name, f"pkg://{plugin.value}")


@cache  # configurations are composed again and again; a broken plugin is reported once
def _usable_plugins() -> tuple[EntryPoint, ...]:
    """Installed plugins whose configuration can be read; the others are named on stderr."""
    usable = []
    for plugin in sorted(entry_points(group=PLUGINS)):
        if (problem := _problem_of(plugin)) is None:
            usable.append(plugin)
        else:
            print(f"plugin {plugin.name!r} is left out: {problem}", file=sys.stderr)
    return tuple(usable)


def _problem_of(plugin: EntryPoint) -> str | None:
    try:
        if _holds_yaml(files(plugin.value)):
            return None
    except Exception as error:  # importing it runs a stranger's code, which may raise anything
        return f"{plugin.value} cannot be imported ({type(error).__name__}: {one_line(error)})"
    return f"{plugin.value} holds no configuration, for example selector/mine.yaml"


def _holds_yaml(folder: Traversable) -> bool:
    return any(
        _holds_yaml(item) if item.is_dir() else item.name.endswith(".yaml")
        for item in folder.iterdir()
    )


def register_plugin_configs() -> None:
    """Makes Hydra apps of this package, and only those, see the configs of plugins."""
    Plugins.instance().register(PluginConfigs)


def compose(overrides: Sequence[str]) -> DictConfig:
    """The root configuration; works inside a running Hydra app, which it leaves as it was.

    Raises:
        ValueError: an override does not fit; one sentence with the choices.
    """
    try:
        with _COMPOSING:
            register_plugin_configs()
            with _own_hydra():
                return hydra_compose("config", overrides=list(overrides))
    except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
        raise ValueError(explain(error)) from error


def compose_policy(
    name: str, overrides: Sequence[str] = (), family: str | None = None
) -> PruningPolicy:
    """The policy `conf/policy/<name>.yaml`, with overrides such as "stages.select.layer=3".

    It is composed once in a process, and every call gets a copy of its own; from any thread.

    Args:
        overrides: paths are relative to the policy; a selector is swapped by
            "selector@stages.select.selector=random".
        family: name of a model family; it must be a supported one.

    Raises:
        ValueError: unknown name, override or family, or a value that a component refuses.
    """
    settings = [f"policy={name}", *map(_of_policy, overrides)]
    if family is not None:
        settings.append(f"family={family}")
    with _COMPOSING:
        return deepcopy(_composed_policy(tuple(settings)))


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
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    make_trainer = _build(cfg, "trainer", _partial_=True)
    try:
        trainer: Trainer = make_trainer(callbacks=callbacks)
    except MisconfigurationException as error:
        raise ValueError(f"trainer: {error}") from error
    return trainer


def choices_of(override: str) -> list[str]:
    """The single overrides that a sweep such as "policy=none,fastv" goes through."""
    try:
        parsed = OverridesParser.create().parse_override(override)
    except OverrideParseException as error:
        raise ValueError(explain(error)) from error
    if not parsed.is_sweep_override():
        return [override]
    key = parsed.get_key_element()
    return [f"{key}={value}" for value in parsed.sweep_string_iterator()]


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


@contextmanager
def _own_hydra() -> Iterator[None]:
    running = GlobalHydra.instance().hydra
    version_base = VersionBase.instance().getbase()
    GlobalHydra.instance().clear()
    try:
        with initialize_config_module(CONFIG_MODULE, version_base=VERSION_BASE):
            yield
    finally:
        GlobalHydra.instance().clear()
        if running is not None:
            GlobalHydra.instance().initialize(running)
        # not `setbase`: it refuses the value that stands for "no Hydra app has started yet"
        VersionBase.instance().version_base = version_base
