"""DivPrune: the tokens that differ most from each other."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

import torch
from torch import Tensor

from ..tokens.signals import Signal
from ..tokens.visual import VisualTokens
from .base import FixedBudget, Rounding
from .similarity import most_similar, normalised


@dataclass(frozen=True)
class DivPruneSelector(FixedBudget):
    """DivPrune (Alvar et al. 2025): greedy max-min cosine distance between embeddings.

    Formula: the first token is the one farthest from its nearest neighbour; each next one is the
    token whose nearest chosen token is farthest away, where the distance is 1 - cos of the inputs
    of the language model. Ties go to the lower index.

    Cost: N x N similarities once, in chunks, then one row of N per kept token; the loop is over
    picks, all rows at once. Paper: arXiv 2503.02175. Exact against the authors' code
    (vbdi/divprune, 799e2d9), also in the order of the picks; there the language model numbers what
    is left anew, and on LLaVA the policy does so too.

    Attributes:
        keep: r of the paper, 9.8 % in its settings for LLaVA.
    """

    keep: float | int = 0.098
    _: KW_ONLY
    rounding: Rounding = "float_round"

    needs = frozenset({Signal.EMBEDDINGS})

    def select(self, tokens: VisualTokens) -> Tensor:
        candidates = tokens.eligible & tokens.valid
        chosen = torch.zeros_like(candidates)
        if tokens.shape[1] == 0:
            return chosen
        vectors = normalised(tokens.embeddings())
        budget = torch.tensor(self.budget(tokens)).to(tokens.device, non_blocking=True)
        k = budget.minimum(candidates.sum(dim=1))
        nearest, _ = most_similar(vectors, vectors, candidates, others=True)
        farness = 1 - nearest
        rows = torch.arange(len(vectors), device=vectors.device)
        for number in range(max(self.budget(tokens), default=0)):
            open_ = candidates & ~chosen
            pick = farness.masked_fill(~open_, -torch.inf).argmax(dim=1)
            chosen[rows, pick] |= number < k
            distance = 1 - torch.einsum("rne,re->rn", vectors, vectors[rows, pick])
            farness = distance if number == 0 else farness.minimum(distance)
        return chosen

    def sizes(self, tokens: VisualTokens) -> list[int] | None:
        return self.budget(tokens) if tokens.all_alike else None
