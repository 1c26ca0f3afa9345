"""LLaVA-PruMerge: outliers of attention, each with the tokens that its key resembles added in."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

import torch
from torch import Tensor

from ..checks import check_at_least, setting
from ..tokens.signals import Signal
from ..tokens.visual import VisualTokens
from .base import Of, OneBudget, Rounding, among, check_budget, counts, top
from .merging import sum_of_similar
from .selection import AddedTokens, Selection
from .spread import every_step


@dataclass(frozen=True)
class PruMergeSelector(OneBudget):
    """LLaVA-PruMerge and PruMerge+ (Shang et al. 2024): outliers, merged with similar tokens.

    Formula: a token is an outlier whose attention a, received in the late layer of the vision
    tower, is above Q3 + 1.5 (Q3 - Q1) of the picture's; with the share s of outliers, int(N * s)
    most attended tokens stay. "+" also keeps every int(int(1 / s) / 3)-th token, the last one
    excepted. Each becomes h + sum of a_j h_j over the `neighbours` tokens, kept or not, with the
    most similar keys (cosine, heads joined); the sum of a_j h_j over all dropped ones is added as
    one token.

    Cost: kept x N cosines and as many weights, about 40 ms at 1,024 tokens on one core. Paper:
    arXiv 2403.15388. Exact against the authors' code (github.com/42Shawn/LLaVA-PruMerge, 097c041),
    kept sets and states of the same vectors. Different: that code takes queries and keys of the
    tower's LAST layer, which LLaVA does not use otherwise, as one head, where attention here is the
    heads' mean in the late layer; it merges before the projector, here behind it. Inferred: one
    without outliers keeps its most attended token; a step is at least 1; one that drops nothing
    stays as it is; the added token takes the place of the last dropped one; keys unrotated.

    Attributes:
        keep: a budget in the place of the number of outliers (null): the most attended tokens; with
            `plus` a quarter of it, and tokens at equal steps among the others.
        of, rounding: see `Budget`.
        plus: the second version, PruMerge+.
        neighbours: tokens that are added to each kept one.
    """

    keep: float | int | None = None
    _: KW_ONLY
    of: Of = "original"
    rounding: Rounding = "round"
    plus: bool = True
    neighbours: int = 32

    needs = frozenset({Signal.HIDDEN, Signal.VISION_ATTENTION_LATE, Signal.VISION_KEYS_LATE})

    def __post_init__(self) -> None:
        if self.keep is not None:
            check_budget(self, self.keep, self.of, self.rounding)
        check_at_least(setting(self, "neighbours"), self.neighbours, 1)

    def select(self, tokens: VisualTokens) -> Selection:
        candidates = tokens.eligible & tokens.valid
        if not tokens.shape[1]:
            return Selection(candidates)
        seen = tokens.whole.eligible & tokens.valid
        attention = tokens.vision_attention(depth="late").masked_fill(~seen, 0.0)
        kept = self._kept(tokens, attention, candidates)
        dropped, states = candidates & ~kept, tokens.hidden()
        keys = tokens.vision_keys(depth="late", rope=False).transpose(1, 2).flatten(2)
        total = sum_of_similar(states, keys, attention, kept, dropped, self.neighbours)
        merged = (states.float() + total * dropped.any(dim=1)[:, None, None]).to(states.dtype)
        extra = ((attention * dropped)[:, None] @ states.float()).to(states.dtype)
        column = torch.arange(states.shape[1], device=states.device)
        last = (column * dropped).amax(dim=1, keepdim=True)
        added = AddedTokens(extra, last, dropped.any(dim=1, keepdim=True))
        return Selection(kept | (tokens.special & tokens.valid), merged, added)

    def sizes(self, tokens: VisualTokens) -> list[int] | None:
        if self.keep is None or not tokens.all_alike:
            return None
        return among(tokens, counts(tokens, self.keep, self.of, self.rounding))

    def _kept(self, tokens: VisualTokens, attention: Tensor, candidates: Tensor) -> Tensor:
        if self.keep is not None:
            total = among(tokens, counts(tokens, self.keep, self.of, self.rounding))
            n_first = [-(-k // 4) if self.plus else k for k in total]
            kept = top(attention, candidates, n_first)
            n_rest = [k - n for k, n in zip(total, n_first, strict=True)]
            return kept | every_step(candidates & ~kept, torch.tensor(n_rest).to(kept.device))
        kept = self._outlying(attention, tokens.whole.eligible & tokens.valid)
        if tokens.reserved is None:
            return kept
        room = kept.sum(dim=1) - (tokens.reserved & tokens.valid).sum(dim=1)
        return top(attention, kept & candidates, room)

    def _outlying(self, attention: Tensor, candidates: Tensor) -> Tensor:
        """The outliers, and with `plus` an even spread, bool `[R, N]`."""
        n = candidates.sum(dim=1, keepdim=True)
        above = (candidates & (attention > _fence(attention, candidates, n))).sum(1, keepdim=True)
        share = above.clamp(min=1).double() / n.clamp(min=1)
        kept = top(attention, candidates, (n * share).long()[:, 0])
        if not self.plus:
            return kept
        step = ((1 / share).long() // 3).clamp(min=1)
        number = candidates.cumsum(dim=1) - 1
        return kept | (candidates & (number % step == 0) & (number < n - 1))


def _fence(attention: Tensor, candidates: Tensor, n: Tensor) -> Tensor:
    """Q3 + 1.5 (Q3 - Q1) of the candidates of each row, `[R, 1]`."""
    ascending = attention.masked_fill(~candidates, torch.inf).sort(dim=1).values
    quartiles = []
    for share in (0.25, 0.75):
        place = share * (n - 1).clamp(min=0)
        low = place.long()
        high = (low + 1).minimum((n - 1).clamp(min=0))
        first, second = ascending.gather(1, low), ascending.gather(1, high)
        quartiles.append(torch.lerp(first, second, place - low))
    return quartiles[1] + 1.5 * (quartiles[1] - quartiles[0])
