"""Hydra as this package uses it: where configurations are, and an app beside a running one."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.resources import files
from importlib.resources.abc import Traversable

from hydra import initialize_config_module
from hydra._internal.hydra import Hydra
from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.version import VersionBase

from ..checks import one_line

CONFIG_MODULE = "ivcprune.conf"
VERSION_BASE = "1.3"
PLUGINS = "ivcprune.conf"
"""Entry-point group whose values are packages with config groups like `selector/*.yaml`."""

COMPOSING = threading.RLock()
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


@contextmanager
def own_hydra(search_path: Sequence[str] = ()) -> Iterator[Hydra]:
    """Hydra with our configurations, inside a running app too, which stays as it was.

    Args:
        search_path: where configurations are looked for after ours, as `--config-dir` does.
    """
    with COMPOSING:
        register_plugin_configs()
        with _initialized() as hydra:
            loader = hydra.config_loader
            for place in search_path:
                paths = loader.get_search_path()
                paths.prepend("command-line", place, SearchPathQuery(provider="schema"))
                loader.repository.initialize_sources(paths)  # type: ignore[attr-defined]
            yield hydra


@contextmanager
def _initialized() -> Iterator[Hydra]:
    running = GlobalHydra.instance().hydra
    version_base = VersionBase.instance().getbase()
    GlobalHydra.instance().clear()
    try:
        with initialize_config_module(CONFIG_MODULE, version_base=VERSION_BASE):
            yield GlobalHydra.instance().hydra  # type: ignore[misc]
    finally:
        GlobalHydra.instance().clear()
        if running is not None:
            GlobalHydra.instance().initialize(running)
        # not `setbase`: it refuses the value that stands for "no Hydra app has started yet"
        VersionBase.instance().version_base = version_base
