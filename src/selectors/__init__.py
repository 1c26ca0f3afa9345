"""What to keep: one idea a file, pure tensor code without knowledge of models or caches."""

from .attention import FastVSelector, PDropSelector
from .base import Budget, Ranked, Selector, signals_of, top
from .combinators import Among, MatchCount, Per, TopUp, Union, Without
from .controls import BorderSelector, FirstTokenSelector
from .coordinates import IVCSelector, coordinate_scores
from .foreground import RefineSelector, SeedSelector, similarity_received
from .random import RandomSelector
from .windows import WindowFastVSelector

__all__ = [
    "Among",
    "BorderSelector",
    "Budget",
    "FastVSelector",
    "FirstTokenSelector",
    "IVCSelector",
    "MatchCount",
    "PDropSelector",
    "Per",
    "RandomSelector",
    "Ranked",
    "RefineSelector",
    "SeedSelector",
    "Selector",
    "TopUp",
    "Union",
    "WindowFastVSelector",
    "Without",
    "coordinate_scores",
    "signals_of",
    "similarity_received",
    "top",
]
