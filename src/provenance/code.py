"""The code that results come from: which modules, and what each of them says."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Collection, Iterable
from functools import cache
from typing import Any

from hydra.utils import get_object

from .modules import PACKAGE, does_something, followed, forget_places, parsed, source_of
from .syntax import plain

PREDICTION = (f"{PACKAGE}.evaluation.module", f"{PACKAGE}.metrics.aggregators")
"""What runs whatever is chosen: prompting, pruning, generating, reading and adding up."""
WITHOUT_EFFECT = (f"{PACKAGE}.configuration.", f"{PACKAGE}.runs.", f"{PACKAGE}.report.")
"""Modules that results do not depend on but through the configuration, which has its own place."""


def code_of(components: Iterable[object], modules: Iterable[str] = PREDICTION) -> dict[str, str]:
    """By name, a digest of every module that classes and functions are made of.

    Those that they are defined in, and what these import of their own package, of the folder that
    they lie in, and of ours; of classes that they inherit from elsewhere the module alone. Other
    packages count by nothing: `env.json` has the versions of the important ones. Comments, layout
    and docstrings are no part of a digest, which is the same on every machine and every Python.

    Args:
        components: classes, functions and what they made, or dotted names as `_target_` has them.
        modules: names of further modules to begin with.
    """
    forget_places()
    open_ones, inherited = list(modules), set()
    for component in components:
        if isinstance(component, str):
            named = component
            component = get_object(named)  # imports it, so that `_module_in` finds it
            open_ones += [name for name in (_module_in(named),) if does_something(name)]
        open_ones.append(home_of(component))
        inherited |= _inherited_by(component)
    _remember(open_ones)
    found: set[str] = set()
    while open_ones:
        if (name := open_ones.pop()) not in found and not name.startswith(WITHOUT_EFFECT):
            found.add(name)
            open_ones += followed(name)
    sources = {name: source_of(name) for name in sorted(found | inherited) if not _is_python(name)}
    return {name: _digest(source) for name, source in sources.items() if source is not None}


def targets_in(config: Any) -> list[str]:
    """Every `_target_` in a configuration."""
    if isinstance(config, dict):
        own = [config["_target_"]] if isinstance(config.get("_target_"), str) else []
        return own + [target for value in config.values() for target in targets_in(value)]
    if isinstance(config, list):
        return [target for value in config for target in targets_in(value)]
    return []


def _module_in(target: str) -> str:
    """The module that a dotted name begins with."""
    parts = target.split(".")
    names = [".".join(parts[:length]) for length in range(len(parts) - 1, 0, -1)]
    return next((name for name in names if source_of(name) is not None), parts[0])


def home_of(component: object) -> str:
    """The module that a class, a function, or the class of an object is defined in."""
    component = getattr(component, "func", component)  # of a partial
    return str(getattr(component, "__module__", None) or type(component).__module__)


def _inherited_by(component: object) -> set[str]:
    """Where the classes that a class inherits from are defined."""
    own = component if isinstance(component, type) else type(component)
    return {base.__module__ for base in own.__mro__}


def _is_python(name: str) -> bool:
    """Whether a module is one of Python's own."""
    return name.partition(".")[0] in sys.stdlib_module_names


def _remember(names: Collection[str]) -> None:
    """Reads what is imported by now, before somebody edits it for the next run of a sweep."""
    packages = {name.partition(".")[0] for name in names}
    for name in list(sys.modules):
        if name.partition(".")[0] in packages:
            source_of(name)


@cache
def _digest(source: bytes) -> str:
    tree = parsed(source)
    content = source if tree is None else json.dumps(plain(tree)).encode()
    return hashlib.sha256(content).hexdigest()[:16]
