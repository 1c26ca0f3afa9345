"""Selectors made of selectors: how methods are composed, by configuration alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, cast, get_args

import torch
from torch import Tensor

from ..checks import check_choice, setting
from ..tokens.rows import Scope
from ..tokens.visual import VisualTokens
from .base import Of, OneBudget, Ranked, Rounding, Selector, check_budget, counts, mask_of, top
from .regrouped import selection_to_parent
from .selection import Selection


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
        whole = tokens.whole
        masks = {name: mask_of(member, whole) for name, member in self.named.items()}
        union = torch.stack(list(masks.values())).any(dim=0)
        if tokens.reserved is None:
            return union
        name = self._filling
        assert name is not None, "see leaves_room"
        sets = [mask for other, mask in masks.items() if other != name]
        first = torch.stack([torch.zeros_like(union), *sets]).any(dim=0) & ~tokens.reserved
        room = ((union & tokens.valid).sum(dim=1) - tokens.reserved.sum(dim=1)).maximum(
            first.sum(dim=1)
        )
        score = cast(Ranked, self.named[name]).score(whole).masked_fill(first, torch.inf)
        return top(score, first | (tokens.eligible & tokens.valid), room)

    def at_most(self, tokens: VisualTokens) -> list[int] | None:
        bounds = [member.at_most(tokens) for member in self.named.values()]
        known = [bound for bound in bounds if bound is not None]
        if len(known) < len(bounds):
            return None
        return [min(sum(of_row), n) for *of_row, n in zip(*known, tokens.count, strict=True)]

    def with_keep(self, keep: float) -> Selector:
        """The members stay, and the ranking with the largest share fills up to `keep`."""
        name = self._filling
        if name is None or len(self.named) == 1:
            raise ValueError(
                f"Union of {', '.join(self.named)} holds no ranking beside fixed sets whose share "
                "is larger than the others': only such a one can fill a given share, so put them "
                "into a TopUp"
            )
        others = replace(self, members={n: m for n, m in self.named.items() if n != name})
        then = cast(Ranked, self.named[name])
        return TopUp(first=others.within(keep), then=then, keep=keep)

    @property
    def leaves_room(self) -> bool:
        return self._filling is not None

    def within(self, keep: float) -> Selector:
        return replace(self, members={n: m.within(keep) for n, m in self.named.items()})

    @property
    def share(self) -> float | None:
        return None if self._filling is None else self.named[self._filling].share

    def share_after(self, previous: float) -> float | None:
        return None if self._filling is None else self.named[self._filling].share_after(previous)

    @property
    def _filling(self) -> str | None:
        """Name of the ranking with the largest share; None without one, or with two of them."""
        shares = {n: m.share or 0.0 for n, m in self.named.items() if isinstance(m, Ranked)}
        largest = max(shares.values(), default=0.0)
        names = [name for name, share in shares.items() if share == largest]
        return names[0] if len(names) == 1 else None


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
        first = mask_of(self.first, tokens.whole) & tokens.valid
        if tokens.reserved is not None:
            first = first & ~tokens.reserved
        total = torch.tensor(counts(tokens, self.keep, self.of, self.rounding))
        k = first.sum(dim=1).maximum(total.to(first.device, non_blocking=True))
        score = self.then.score(tokens.whole).masked_fill(first, torch.inf)
        return top(score, first | (tokens.eligible & tokens.valid), k)

    def sizes(self, tokens: VisualTokens) -> list[int] | None:
        first = self.first.at_most(tokens)
        if first is None or not tokens.all_alike:
            return None
        total = counts(tokens, self.keep, self.of, self.rounding)
        if any(most > n for most, n in zip(first, total, strict=True)):
            return None  # `first` alone may be more than the total
        return [min(n, now) for n, now in zip(total, tokens.count, strict=True)]

    def with_keep(self, keep: float) -> Selector:
        return replace(self, first=self.first.within(keep), keep=keep, of="original")


@dataclass(frozen=True)
class Without(Selector):
    """Everything, or what `base` keeps, except what `selector` keeps."""

    selector: Selector
    base: Selector | None = None

    def select(self, tokens: VisualTokens) -> Tensor:
        base = tokens.valid if self.base is None else mask_of(self.base, tokens)
        return base & ~mask_of(self.selector, tokens) & tokens.valid

    def with_keep(self, keep: float) -> Selector:
        if self.base is None:
            return super().with_keep(keep)
        return replace(self, base=self.base.with_keep(keep))

    @property
    def share(self) -> float | None:
        return None if self.base is None else self.base.share

    def share_after(self, previous: float) -> float | None:
        return None if self.base is None else self.base.share_after(previous)


class Around(Selector):
    """What selectors around another one share: its budget is theirs."""

    selector: Selector

    @property
    def leaves_room(self) -> bool:
        return self.selector.leaves_room

    def with_keep(self, keep: float) -> Selector:
        around: Any = self
        return cast(Selector, replace(around, selector=self.selector.with_keep(keep)))

    @property
    def share(self) -> float | None:
        return self.selector.share

    def share_after(self, previous: float) -> float | None:
        return self.selector.share_after(previous)


@dataclass(frozen=True)
class Among(Around):
    """`selector`, whose rankings may take only what `candidates` keeps."""

    candidates: Selector
    selector: Selector

    def select(self, tokens: VisualTokens) -> Tensor:
        return mask_of(self.selector, tokens.restrict(mask_of(self.candidates, tokens)))


@dataclass(frozen=True)
class Per(Around):
    """`selector`, applied to each grid line, row (block), thumbnail, image (or video) or sample."""

    scope: Scope
    selector: Selector

    def __post_init__(self) -> None:
        check_choice(setting(self, "scope"), self.scope, get_args(Scope))

    def select(self, tokens: VisualTokens) -> Tensor | Selection:
        groups = tokens.regroup(self.scope)
        chosen = self.selector.select(groups)
        if isinstance(chosen, Selection):
            return selection_to_parent(tokens, groups, chosen)
        return groups.to_parent(chosen)

    def sizes(self, tokens: VisualTokens) -> list[int] | None:
        return self.selector.sizes(tokens) if tokens.is_grouped(self.scope) else None

    def at_most(self, tokens: VisualTokens) -> list[int] | None:
        return self.selector.at_most(tokens) if tokens.is_grouped(self.scope) else None


@dataclass(frozen=True)
class MatchCount(Selector):
    """The best of `selector`'s ranking, as many in each row as `like` keeps there.

    Attributes:
        anywhere: from all tokens, not only from those that a ranking may take: the control of
            coordinates within `Among`, which do not heed it.
    """

    selector: Ranked
    like: Selector
    _: KW_ONLY
    anywhere: bool = False

    def select(self, tokens: VisualTokens) -> Tensor:
        k = (mask_of(self.like, tokens) & tokens.valid).sum(dim=1)
        allowed = tokens.valid if self.anywhere else tokens.eligible & tokens.valid
        return top(self.selector.score(tokens), allowed, k)
