"""Visual-token pruning for vision-language models: composable selectors on unmodified models."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import load_policy, prune, shared_prefix
    from .policy import PruningPolicy, Stage

__version__ = version("ivcprune")

__all__ = ["PruningPolicy", "Stage", "load_policy", "prune", "shared_prefix"]

_HOMES = {
    "load_policy": "api",
    "prune": "api",
    "shared_prefix": "api",
    "PruningPolicy": "policy",
    "Stage": "policy",
}


def __getattr__(name: str) -> Any:
    """Imports PyTorch and transformers when they are needed: `ivcprune job=list` does without."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
