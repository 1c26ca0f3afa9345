"""Selectors made of selectors: how methods are composed, by configuration alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, cast, get_args

import torch
from torch import Tensor

from ..rows import Scope
from ..tokens import VisualTokens
from .base import Of, OneBudget, Ranked, Rounding, Selector, check_budget, counts, top


@dataclass(frozen=True)
class Union(Selector):
    """Tokens that any member keeps.

    Attributes:
        members: by name, so that overrides can reach each; a list is numbered from 0.
    """

    members: Mapping[str, Selector] | Sequence[Selector]

    def __post_init__(self) -> None:
        if not self.members:
            raise ValueError("Union.members is empty: it needs at least one selector")
        object.__setattr__(self, "members", self.named)

    @property
    def named(self) -> dict[str, Selector]:
        """The members by name."""
        if isinstance(self.members, Mapping):
            return dict(self.members)
        return {str(number): member for number, member in enumerate(self.members)}

    def select(self, tokens: VisualTokens) -> Tensor:
        masks = [member.select(tokens) for member in self.named.values()]
        return torch.stack(masks).any(dim=0)

    def with_keep(self, keep: float) -> Selector:
        """The members stay, and the one ranking among them fills up to `keep`."""
        ranked = {n: m for n, m in self.named.items() if isinstance(m, Ranked)}
        if len(ranked) != 1 or len(self.named) == 1:
            raise ValueError(
                f"Union of {', '.join(self.named)} holds {len(ranked)} rankings beside fixed "
                "sets: exactly one can fill a given share, so put them into a TopUp"
            )
        ((name, then),) = ranked.items()
        first = replace(self, members={n: m for n, m in self.named.items() if n != name})
        return TopUp(first=first, then=then, keep=keep)

    @property
    def share(self) -> float | None:
        shares = [m.share for m in self.named.values() if isinstance(m, Ranked)]
        return shares[0] if len(shares) == 1 else None


@dataclass(frozen=True)
class TopUp(OneBudget):
    """All of `first`, then the best of `then` until max(keep, |first|) tokens are kept.

    Attributes:
        first: what is kept in any case.
        then: the ranking that fills the rest; its own budget plays no part.
        keep, of, rounding: the total, see `Budget`.
    """

    first: Selector
    then: Ranked
    keep: float | int = 0.5
    _: KW_ONLY
    of: Of = "original"
    rounding: Rounding = "round"

    def __post_init__(self) -> None:
        check_budget(self, self.keep, self.of, self.rounding)
        if not isinstance(self.then, Ranked):
            raise TypeError(f"TopUp.then is {type(self.then).__name__}: it must be a ranking")

    def select(self, tokens: VisualTokens) -> Tensor:
        first = self.first.select(tokens) & tokens.valid
        total = torch.tensor(counts(tokens, self.keep, self.of, self.rounding))
        k = first.sum(dim=1).maximum(total.to(first.device, non_blocking=True))
        score = self.then.score(tokens).masked_fill(first, torch.inf)
        return top(score, first | (tokens.eligible & tokens.valid), k)


@dataclass(frozen=True)
class Without(Selector):
    """The complement: everything except what `selector` keeps."""

    selector: Selector

    def select(self, tokens: VisualTokens) -> Tensor:
        return ~self.selector.select(tokens) & tokens.valid


class Around(Selector):
    """What selectors around another one share: its budget is theirs."""

    selector: Selector

    def with_keep(self, keep: float) -> Selector:
        around: Any = self
        return cast(Selector, replace(around, selector=self.selector.with_keep(keep)))

    @property
    def share(self) -> float | None:
        return self.selector.share


@dataclass(frozen=True)
class Among(Around):
    """`selector`, whose rankings may take only what `candidates` keeps."""

    candidates: Selector
    selector: Selector

    def select(self, tokens: VisualTokens) -> Tensor:
        return self.selector.select(tokens.restrict(self.candidates.select(tokens)))


@dataclass(frozen=True)
class Per(Around):
    """`selector`, applied to each grid line, row (one block), image (or video) or sample."""

    scope: Scope
    selector: Selector

    def __post_init__(self) -> None:
        if self.scope not in get_args(Scope):
            raise ValueError(
                f"Per.scope is {self.scope!r}: it must be one of {', '.join(get_args(Scope))}"
            )

    def select(self, tokens: VisualTokens) -> Tensor:
        groups = tokens.regroup(self.scope)
        return groups.to_parent(self.selector.select(groups))


@dataclass(frozen=True)
class MatchCount(Selector):
    """The best of `selector`'s ranking, as many in each row as `like` keeps there."""

    selector: Ranked
    like: Selector

    def select(self, tokens: VisualTokens) -> Tensor:
        k = (self.like.select(tokens) & tokens.valid).sum(dim=1)
        return top(self.selector.score(tokens), tokens.eligible & tokens.valid, k)
