"""SCOPE: tokens that cover the others best, weighted by attention."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

import torch
from torch import Tensor

from ..tokens.signals import Signal
from ..tokens.visual import VisualTokens
from .base import FixedBudget, among
from .similarity import cosines


@dataclass(frozen=True)
class ScopeSelector(FixedBudget):
    """SCOPE (Deng et al. 2025): greedy coverage gain times attention in the vision tower.

    Formula: the next token is the j with the largest a_j^alpha * sum over all tokens i of
    max(0, cos_ij - m_i), where a is the attention received in the late layer of the tower, cos are
    cosines of its features, and m_i is the largest cosine of i to a chosen token, at least 0. Ties
    go to the lower index.

    Cost: N x N cosines once, held; then for each pick only the rows of tokens whose m_i rose, about
    55 ms at 1,024 tokens and 256 picks on one core (the sum over all rows anew takes 30 times
    that), and one wait for the device per pick. Paper: arXiv 2510.24214. Exact against the authors'
    code (github.com/kinredon/SCOPE, 6bf7306), also in the order of the picks, each tile with a
    budget of its own as there.

    Attributes:
        keep: 64 of LLaVA's 576 tokens is its strictest setting.
        alpha: weight of the attention; 0 is coverage alone.
    """

    keep: float | int = 0.2222
    _: KW_ONLY
    alpha: float = 1.0

    needs = frozenset({Signal.FEATURES, Signal.VISION_ATTENTION_LATE})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.alpha < 0:
            raise ValueError(f"ScopeSelector.alpha is {self.alpha}: it must be 0 or more")

    def select(self, tokens: VisualTokens) -> Tensor:
        candidates = tokens.eligible & tokens.valid
        weight = tokens.vision_attention(depth="late").double().clamp(min=0) ** self.alpha
        wanted = among(tokens, self.budget(tokens))
        k = torch.tensor(wanted).to(tokens.device, non_blocking=True)
        # what is no candidate neither covers nor needs cover
        similarity = cosines(tokens.features()) * (candidates[:, :, None] & candidates[:, None])
        covered = similarity.new_zeros(candidates.shape)
        gain = similarity.clamp(min=0).sum(dim=1, dtype=torch.float64)
        chosen = torch.zeros_like(candidates)
        rows = torch.arange(len(candidates), device=candidates.device)
        for number in range(max(wanted, default=0)):
            open_ = candidates & ~chosen
            pick = (gain * weight).masked_fill(~open_, -torch.inf).argmax(dim=1)
            chosen[rows, pick] |= number < k
            risen = covered.maximum(similarity[rows, pick])
            row, column = (risen > covered).nonzero(as_tuple=True)
            cosine = similarity[row, column]
            lost = (cosine - covered[row, column, None]).clamp(min=0)
            lost -= (cosine - risen[row, column, None]).clamp(min=0)
            gain.index_add_(0, row, -lost.double())
            covered = risen
        return chosen
