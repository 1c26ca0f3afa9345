"""Selectors made of selectors: how methods are composed, by configuration alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from ..tokens import Scope, VisualTokens
from .base import Budget, Ranked, Selector, top


@dataclass(frozen=True, kw_only=True)
class Union(Selector):
    """Tokens that any member keeps. Members have names, so that overrides can reach each."""

    members: Mapping[str, Selector]

    def __post_init__(self) -> None:
        if not self.members:
            raise ValueError("Union.members is empty: it needs at least one selector")
        object.__setattr__(self, "members", dict(self.members))

    def select(self, tokens: VisualTokens) -> Tensor:
        masks = [member.select(tokens) for member in self.members.values()]
        return torch.stack(masks).any(dim=0)

    def with_keep(self, keep: float) -> Selector:
        """The members stay, and the one ranking among them fills up to `keep`."""
        ranked = {n: m for n, m in self.members.items() if isinstance(m, Ranked)}
        if len(ranked) != 1 or len(self.members) == 1:
            raise ValueError(
                f"Union of {', '.join(self.members)} holds {len(ranked)} rankings beside fixed "
                "sets: exactly one can fill a given share, so put them into a TopUp"
            )
        ((name, then),) = ranked.items()
        first = replace(self, members={n: m for n, m in self.members.items() if n != name})
        return TopUp(first=first, then=then, keep=keep)

    @property
    def share(self) -> float | None:
        shares = [m.share for m in self.members.values() if isinstance(m, Ranked)]
        return shares[0] if len(shares) == 1 else None


@dataclass(frozen=True, kw_only=True)
class TopUp(Budget):
    """All of `first`, then the best of `then` until max(keep, |first|) tokens are kept.

    Attributes:
        first: what is kept in any case.
        then: the ranking that fills the rest; its own budget plays no part.
    """

    keep: float | int = 0.5
    first: Selector = field(kw_only=True)
    then: Ranked = field(kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.then, Ranked):
            raise TypeError(f"TopUp.then is {type(self.then).__name__}: it must be a ranking")

    def select(self, tokens: VisualTokens) -> Tensor:
        first = self.first.select(tokens) & tokens.valid
        budget = torch.tensor(self.budget(tokens), dtype=torch.long)
        k = first.sum(dim=1).maximum(budget.to(first.device, non_blocking=True))
        score = self.then.score(tokens).masked_fill(first, torch.inf)
        return top(score, first | (tokens.eligible & tokens.valid), k)


@dataclass(frozen=True, kw_only=True)
class Without(Selector):
    """The complement: everything except what `selector` keeps."""

    selector: Selector

    def select(self, tokens: VisualTokens) -> Tensor:
        return ~self.selector.select(tokens) & tokens.valid


@dataclass(frozen=True, kw_only=True)
class Among(Selector):
    """`selector`, whose rankings may take only what `candidates` keeps."""

    candidates: Selector
    selector: Selector

    def select(self, tokens: VisualTokens) -> Tensor:
        return self.selector.select(tokens.restrict(self.candidates.select(tokens)))

    def with_keep(self, keep: float) -> Selector:
        return replace(self, selector=self.selector.with_keep(keep))

    @property
    def share(self) -> float | None:
        return self.selector.share


@dataclass(frozen=True, kw_only=True)
class Per(Selector):
    """`selector`, applied to each grid line, row (one block), image (or video) or sample."""

    scope: Literal["line", "row", "image", "sample"]
    selector: Selector

    def __post_init__(self) -> None:
        if self.scope not in get_args(Scope):
            raise ValueError(
                f"Per.scope is {self.scope!r}: it must be one of {', '.join(get_args(Scope))}"
            )

    def select(self, tokens: VisualTokens) -> Tensor:
        groups = tokens.regroup(self.scope)
        return groups.to_parent(self.selector.select(groups))

    def with_keep(self, keep: float) -> Selector:
        return replace(self, selector=self.selector.with_keep(keep))

    @property
    def share(self) -> float | None:
        return self.selector.share


@dataclass(frozen=True, kw_only=True)
class MatchCount(Selector):
    """The best of `selector`'s ranking, as many in each row as `like` keeps there."""

    selector: Ranked
    like: Selector

    def select(self, tokens: VisualTokens) -> Tensor:
        k = (self.like.select(tokens) & tokens.valid).sum(dim=1)
        return top(self.selector.score(tokens), tokens.eligible & tokens.valid, k)
