"""What a selector sees: rows of visual tokens, their geometry, and the signals of the model."""

from .copies import Copies
from .signals import (
    FROM_PREVIOUS_LAYER,
    FROM_VISION_TOWER,
    AttentionLayer,
    AttentionOver,
    Signal,
    Signals,
    TextSpan,
    VisionDepth,
    VisionQueries,
)
from .visual import VisualTokens

__all__ = [
    "FROM_PREVIOUS_LAYER",
    "FROM_VISION_TOWER",
    "AttentionLayer",
    "AttentionOver",
    "Copies",
    "Signal",
    "Signals",
    "TextSpan",
    "VisionDepth",
    "VisionQueries",
    "VisualTokens",
]
