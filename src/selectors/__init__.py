"""What to keep: one idea a file, pure tensor code without knowledge of models or caches."""

from .adaptive import AdaptiveTopUp, EvenMassSelector
from .attention import FastVSelector, PDropSelector
from .base import Budget, FixedBudget, Ranked, Selector, decision, mask_of, signals_of, top
from .cdpruner import CDPrunerSelector
from .combinators import Among, MatchCount, Per, TopUp, Union, Without
from .controls import BorderSelector, FirstTokenSelector
from .coordinates import IVCSelector, coordinate_scores
from .dart import DARTSelector
from .density import DensityTopUp, ramp_for
from .divprune import DivPruneSelector
from .dycoke import DyCokeSelector
from .fastvid import FastVIDSelector
from .feather import FeatherSelector, GridSelector
from .foreground import RefineSelector, SeedSelector, similarity_received
from .holov import HoloVSelector
from .measures import (
    EdgeDensity,
    LayerAgreement,
    Measure,
    QueryEntropy,
    ScoreSpread,
    WeightedSum,
)
from .merging import MergeDropped
from .patterns import AnnotatedSelector, CornersSelector, DiagonalSelector, WindowPatternSelector
from .prumerge import PruMergeSelector
from .random import RandomSelector
from .recycling import Recycle
from .scope import ScopeSelector
from .selection import AddedTokens, Selection
from .sparsevlm import SparseVLMSelector
from .sparsevlm_plus import SparseVLMPlusSelector
from .spread import SpreadSelector
from .text_attention import TextAttentionSelector
from .thumbnails import ThumbnailSelector, ThumbnailToTiles
from .upcoming import UpcomingSimilaritySelector
from .visionzip import VisionZipSelector
from .vispruner import VisPrunerSelector
from .vscan import VScanSelector
from .windows import WindowFastVSelector
from .with_coordinates import WithCoordinates, with_coordinates

__all__ = [
    "AdaptiveTopUp",
    "AddedTokens",
    "Among",
    "AnnotatedSelector",
    "BorderSelector",
    "Budget",
    "CDPrunerSelector",
    "CornersSelector",
    "DARTSelector",
    "DensityTopUp",
    "DiagonalSelector",
    "DivPruneSelector",
    "DyCokeSelector",
    "EdgeDensity",
    "EvenMassSelector",
    "FastVIDSelector",
    "FastVSelector",
    "FeatherSelector",
    "FirstTokenSelector",
    "FixedBudget",
    "GridSelector",
    "HoloVSelector",
    "IVCSelector",
    "LayerAgreement",
    "MatchCount",
    "Measure",
    "MergeDropped",
    "PDropSelector",
    "Per",
    "PruMergeSelector",
    "QueryEntropy",
    "RandomSelector",
    "Ranked",
    "Recycle",
    "RefineSelector",
    "ScopeSelector",
    "ScoreSpread",
    "SeedSelector",
    "Selection",
    "Selector",
    "SparseVLMPlusSelector",
    "SparseVLMSelector",
    "SpreadSelector",
    "TextAttentionSelector",
    "ThumbnailSelector",
    "ThumbnailToTiles",
    "TopUp",
    "Union",
    "UpcomingSimilaritySelector",
    "VScanSelector",
    "VisPrunerSelector",
    "VisionZipSelector",
    "WeightedSum",
    "WindowFastVSelector",
    "WindowPatternSelector",
    "WithCoordinates",
    "Without",
    "coordinate_scores",
    "decision",
    "mask_of",
    "ramp_for",
    "signals_of",
    "similarity_received",
    "top",
    "with_coordinates",
]
