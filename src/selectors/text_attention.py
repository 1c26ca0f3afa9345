"""Text-image attention in the place of value similarity (Tab. 7)."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

from torch import Tensor

from ..checks import check_choice, setting
from ..tokens.signals import Signal, TextSpan
from ..tokens.visual import VisualTokens
from .base import Ranked
from .spread import or_spread


@dataclass(frozen=True)
class TextAttentionSelector(Ranked):
    """Mean attention of the text tokens in the layer that just ran (Tab. 7).

    Formula: the mean over the text tokens after the image, and over heads, of their softmax rows
    over all keys, at the visual tokens. It stands where `RefineSelector` has value similarity.

    Cost: one query row per text token and all keys of one layer. Source: Tab. 7 of the paper (arXiv
    2602.03060), which only names it. Inferred: the seeds add no queries of their own, since causal
    attention lets them see only what comes before them; the softmax is the model's own.

    Attributes:
        text: which text tokens ask; those before the image see none of it.
    """

    keep: float | int = 0.4
    _: KW_ONLY
    text: TextSpan = "after_image"

    needs = frozenset({Signal.ATTENTION_PREVIOUS})

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice(setting(self, "text"), self.text, ("after_image", "all"))

    def score(self, tokens: VisualTokens) -> Tensor:
        queries = tokens.text(self.text)
        received = tokens.attention(queries, layer="previous").sum(dim=1)
        n_text = queries.mask.sum(dim=1).to(tokens.device)[tokens.sample]
        sees_image = received.masked_fill(~tokens.valid, 0.0).sum(dim=1) > 0
        return or_spread(received / n_text.clamp(min=1)[:, None], sees_image)
