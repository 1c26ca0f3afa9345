"""Visual-token pruning for vision-language models: composable selectors on unmodified models."""

from .api import load_policy, prune
from .policy import PruningPolicy, Stage

__version__ = "0.1.0"

__all__ = ["PruningPolicy", "Stage", "load_policy", "prune"]
