"""How transformers names the key-value cache: `cache` from 5.24 on, `past_key_values` before.

Models of both kinds can meet in one process: a model of a third party may keep the old name.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

CACHE_NAMES = ("cache", "past_key_values")


def cache_parameter(function: Callable[..., Any]) -> str:
    """The name by which a function takes the cache; the newest one where it names none."""
    parameters = inspect.signature(function).parameters
    return next((name for name in CACHE_NAMES if name in parameters), CACHE_NAMES[0])


def given_cache(arguments: Mapping[str, Any]) -> Any:
    """The cache among keyword arguments, or among the fields of a model's output; or None."""
    caches = (arguments.get(name) for name in CACHE_NAMES)
    return next((cache for cache in caches if cache is not None), None)


def with_cache(
    arguments: Mapping[str, Any], cache: Any, function: Callable[..., Any]
) -> dict[str, Any]:
    """Keyword arguments for a function with this cache in the place of any other."""
    others = {name: value for name, value in arguments.items() if name not in CACHE_NAMES}
    return {**others, cache_parameter(function): cache}
