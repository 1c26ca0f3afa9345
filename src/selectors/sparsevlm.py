"""SparseVLM: text tokens that resemble the image rate its tokens."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..tokens.signals import Signal
from ..tokens.visual import VisualTokens
from .base import Ranked
from .spread import score_or_spread


@dataclass(frozen=True)
class SparseVLMSelector(Ranked):
    """SparseVLM (Zhang et al. 2025): mean attention of the raters in the layer that just ran.

    Formula: raters are those of all text tokens behind the image whose mean over the visual tokens
    of softmax(V T^T) on the embeddings is above average (`VisualTokens.raters`), found once for all
    stages; the score is the mean over raters and heads of their softmax rows over all keys. A count
    (`keep=300`) leaves at least one token out, as the authors' lists of counts do.

    Cost: one query row per rater and all keys of one layer, and once N x L similarities of
    embeddings. `Recycle` around it is the method's clustering. Paper: arXiv 2410.04417. Exact
    against the authors' code (Gumpest/SparseVLMs, 26a5f48, USE_VERSION 1_0) with its lists as
    counts; the policy's shares are those lists over 576 tokens.
    Deviations: where all text tokens are rated alike, all of them are raters; without any text the
    choice is an even spread (the authors' code has no such case).
    """

    keep: float | int = 0.5

    needs = frozenset({Signal.ATTENTION_PREVIOUS, Signal.RATERS})

    def score(self, tokens: VisualTokens) -> Tensor:
        return tokens.memoise("sparsevlm", lambda: self._score(tokens))

    def budget(self, tokens: VisualTokens) -> list[int]:
        wanted = super().budget(tokens)
        if not isinstance(self.keep, int):
            return wanted
        return [min(n, max(now - 1, 0)) for n, now in zip(wanted, tokens.count, strict=True)]

    def _score(self, tokens: VisualTokens) -> Tensor:
        raters = tokens.raters()
        n_raters = raters.mask.sum(dim=1).to(tokens.device)[tokens.sample]
        received = tokens.attention(raters, layer="previous").sum(dim=1)
        return score_or_spread(tokens, received / n_raters.clamp(min=1)[:, None], n_raters)
