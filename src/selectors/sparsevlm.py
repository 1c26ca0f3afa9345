"""SparseVLM: text tokens that resemble the image rate its tokens."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..tokens.visual import Signal, VisualTokens
from .base import Ranked
from .spread import score_or_spread


@dataclass(frozen=True)
class SparseVLMSelector(Ranked):
    """SparseVLM (Zhang et al. 2025): mean attention of the raters in the layer that just ran.

    Formula: raters are the text tokens after the image whose mean over the visual tokens of
    softmax(V T^T) on the embeddings is above average (`VisualTokens.raters`), found once for all
    stages; the score is the mean over raters and heads of their softmax rows over all keys.

    Cost: one query row per rater and all keys of one layer, and once N x L similarities of
    embeddings. Source: the official code. `Recycle` around it is the method's clustering.
    Deviations: where all text tokens are rated alike, all of them are raters; without any text the
    choice is an even spread (the official code has no such case).
    """

    keep: float | int = 0.5

    needs = frozenset({Signal.ATTENTION_PREVIOUS, Signal.RATERS})

    def score(self, tokens: VisualTokens) -> Tensor:
        return tokens.memoise("sparsevlm", lambda: self._score(tokens))

    def _score(self, tokens: VisualTokens) -> Tensor:
        raters = tokens.raters()
        n_raters = raters.mask.sum(dim=1).to(tokens.device)[tokens.sample]
        received = tokens.attention(raters, layer="previous").sum(dim=1)
        return score_or_spread(tokens, received / n_raters.clamp(min=1)[:, None], n_raters)
