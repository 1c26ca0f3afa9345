"""Budgets that follow the scores: a concentrated foreground needs fewer tokens than a wide one."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import KW_ONLY, dataclass, field

import torch
from torch import Tensor

from ..tokens.visual import VisualTokens
from .base import Ranked, Rounding, Selector, check_budget, counts, mask_of, top
from .foreground import RefineSelector


def mass_before(score: Tensor, block: Tensor, candidates: Tensor) -> Tensor:
    """Share of its block's total score that the better candidates of the block hold.

    A token is among the fewest that hold a share p of the total exactly if its own figure is below
    p. Ties go to the lower index.

    Args:
        score: not negative, `[R, N]`.
        block: block of each token, long `[R, N]`.
        candidates: what counts, bool `[R, N]`.

    Returns:
        in [0, 1), float64 `[R, N]`; 1 for all others, and for all of a block without any score.
    """
    block = block.masked_fill(~candidates, -1)
    by_score = score.argsort(dim=1, descending=True, stable=True)
    by_block = block.gather(1, by_score).argsort(dim=1, stable=True)
    order = by_score.gather(1, by_block)
    of_block = block.gather(1, order)
    value = score.double().masked_fill(~candidates, 0.0).gather(1, order)
    until = value.cumsum(dim=1)
    is_first = torch.ones_like(of_block, dtype=torch.bool)
    is_first[:, 1:] = of_block[:, 1:] != of_block[:, :-1]
    is_last = is_first.roll(-1, dims=1)
    start = (until - value).masked_fill(~is_first, 0.0).cummax(dim=1).values
    end = until.masked_fill(~is_last, torch.inf).flip(1).cummin(dim=1).values.flip(1)
    share = ((until - value - start) / (end - start)).nan_to_num(1.0).masked_fill(of_block < 0, 1.0)
    return torch.empty_like(share).scatter_(1, order, share)


@dataclass(frozen=True)
class VaryingTopUp(Selector):
    """All of `first`, then the best of `then`: as many as each row is found to need.

    Attributes:
        first: what is kept in any case; it counts.
        then: the ranking that fills the rest; its own budget plays no part.
        low, high: the fewest and the most tokens of a row, see `Budget.keep`.
    """

    first: Selector
    then: Ranked
    _: KW_ONLY
    low: float | int = 0.25
    high: float | int = 0.75
    rounding: Rounding = "round"

    def __post_init__(self) -> None:
        name = type(self).__name__
        for bound in (self.low, self.high):
            check_budget(self, bound, "original", self.rounding)
        if isinstance(self.low, int) == isinstance(self.high, int) and self.low > self.high:
            raise ValueError(
                f"{name}.low is {self.low}, more than its high of {self.high}: swap them"
            )
        if not isinstance(self.then, Ranked):
            raise TypeError(f"{name}.then is {type(self.then).__name__}: it must be a ranking")

    @abstractmethod
    def wanted(self, tokens: VisualTokens, low: Tensor, high: Tensor) -> Tensor:
        """Tokens that each row needs, long `[R]`; what is beyond the bounds is cut to them.

        Args:
            tokens: without reservations.
            low, high: the bounds as counts, long `[R]`.
        """

    def select(self, tokens: VisualTokens) -> Tensor:
        whole = tokens.whole
        first = mask_of(self.first, whole) & tokens.valid
        candidates = whole.eligible & tokens.valid
        low, high = (self._bound(whole, keep) for keep in (self.low, self.high))
        k = self.wanted(whole, low, high).clamp(low, high).maximum(first.sum(dim=1))
        open_ = first | candidates
        if tokens.reserved is not None:
            open_ = open_ & ~tokens.reserved
            k = k - (tokens.reserved & tokens.valid).sum(dim=1)
        return top(self.then.score(whole).masked_fill(first, torch.inf), open_, k)

    @property
    def leaves_room(self) -> bool:
        return True

    def _bound(self, tokens: VisualTokens, keep: float) -> Tensor:
        bound = torch.tensor(counts(tokens, keep, "original", self.rounding), dtype=torch.long)
        return bound.to(tokens.device, non_blocking=True)


@dataclass(frozen=True)
class AdaptiveTopUp(VaryingTopUp):
    """All of `first`, then the best of `then`, as many as its scores are spread over.

    Formula: the fewest tokens of a row that hold the share `mass` of the row's total score, at
    least `low` and at most `high` of the row's original tokens, and all of `first` in any case.
    Scores are taken as they are, so that they must not be negative.

    Cost: two sorts of the scores; no device sync. Source: ours, after the paper's outlook (dense
    text needs more tokens).

    Attributes:
        first: what is kept in any case; it counts.
        then: the ranking that fills the rest; its own budget plays no part.
        mass: in (0, 1]; more keeps more.
        low, high: bounds, see `Budget.keep`.
    """

    mass: float = 0.7

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 < self.mass <= 1.0:
            raise ValueError(f"AdaptiveTopUp.mass is {self.mass}: it must be in (0, 1]")

    def wanted(self, tokens: VisualTokens, low: Tensor, high: Tensor) -> Tensor:
        candidates = tokens.eligible & tokens.valid
        before = mass_before(self.then.score(tokens), torch.zeros_like(tokens.block), candidates)
        return (before < self.mass).sum(dim=1)

    def with_keep(self, keep: float) -> Selector:
        raise ValueError(
            f"AdaptiveTopUp keeps as many tokens as the scores ask for, not a share of {keep}: "
            "choose `mass`, `low` and `high`, or use TopUp"
        )


@dataclass(frozen=True)
class EvenMassSelector(Ranked):
    """Every frame keeps the same share of its scores, and the video exactly its budget.

    Formula: tokens in the order of the share of their block's total score that better ones hold.
    The best k of them are, in each block, the fewest that hold a share p, and p is what makes k: a
    frame with a wide foreground keeps more tokens than one with a concentrated one. With one block
    in a row the order is that of `ranking`.

    Cost: two sorts of the scores. Source: ours, see `AdaptiveTopUp`.

    Attributes:
        ranking: whose scores, not negative, are added up; its own budget plays no part.
    """

    keep: float | int = 0.5
    _: KW_ONLY
    ranking: Ranked = field(default_factory=RefineSelector)

    def score(self, tokens: VisualTokens) -> Tensor:
        candidates = tokens.eligible & tokens.valid
        return -mass_before(self.ranking.score(tokens), tokens.block, candidates)
