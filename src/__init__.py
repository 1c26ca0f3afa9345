"""Visual-token pruning for vision-language models: composable selectors on unmodified models."""

from importlib.metadata import version

from .api import load_policy, prune
from .policy import PruningPolicy, Stage

__version__ = version("ivcprune")

__all__ = ["PruningPolicy", "Stage", "load_policy", "prune"]
