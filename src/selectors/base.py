"""The two base classes of every selector, and the ranking arithmetic that they share."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, fields, replace
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor

from ..checks import check_choice, setting
from ..tokens.signals import Asking, Signal
from ..tokens.visual import VisualTokens
from .selection import Selection

Rounding = Literal["round", "floor", "ceil", "float_round", "float_floor"]
Of = Literal["original", "current", "eligible"]

_ROUNDERS: dict[str, Callable[[float], int]] = {
    "round": round,
    "floor": math.floor,
    "ceil": math.ceil,
    "float_round": round,
    "float_floor": int,
}


@dataclass(frozen=True)
class Selector(Asking, ABC):
    """Decides which visual tokens stay.

    A selector is a value: frozen, comparable, without state, and pure tensor code over all rows of
    a batch at once. Subclasses name the signals they will ask for in `needs`.
    """

    @abstractmethod
    def select(self, tokens: VisualTokens) -> Tensor | Selection:
        """Tokens to keep, bool `[R, N]`; what it says about padding is ignored.

        A method that also merges states or adds tokens returns a `Selection`.
        """

    def sizes(self, tokens: VisualTokens) -> list[int] | None:
        """How many tokens of each row `select` keeps; None where only the device knows.

        What is known saves the wait for the device that every stage otherwise costs.
        """
        return None

    def at_most(self, tokens: VisualTokens) -> list[int] | None:
        """No more than so many tokens of each row are kept; None where only the device knows."""
        return self.sizes(tokens)

    def with_keep(self, keep: float) -> Selector:
        """The same selector with another total budget: a share of the original tokens.

        Raises:
            ValueError: the selector has no single budget (a set of positions, a complement).
        """
        raise ValueError(
            f"{type(self).__name__} has no single budget, so it cannot be brought to a given share "
            "of tokens: put it into a TopUp with a ranking that fills the rest"
        )

    def within(self, keep: float) -> Selector:
        """The same selector as a part of one whose total budget becomes `keep`.

        Most parts stay as they are, for example coordinates, which are a fixed share.
        """
        return self

    @property
    def leaves_room(self) -> bool:
        """Whether it keeps so many fewer tokens where some are reserved, see `TokenRows.reserve`.

        A set of positions does not: it is what it is.
        """
        return False

    @property
    def share(self) -> float | None:
        """Share of the original tokens that the budget asks for; None where there is no such."""
        return None

    def share_after(self, previous: float) -> float | None:
        """As `share`, behind a stage that left `previous`: a share of these tokens counts too."""
        return self.share


def decision(selector: Selector, tokens: VisualTokens) -> Selection:
    """What a selector decides, also where it only keeps tokens."""
    chosen = selector.select(tokens)
    return chosen if isinstance(chosen, Selection) else Selection(chosen)


def mask_of(selector: Selector, tokens: VisualTokens) -> Tensor:
    """What a selector inside another one keeps, bool `[R, N]`.

    Raises:
        TypeError: it also merges states or adds tokens, which has no place inside a set.
    """
    chosen = selector.select(tokens)
    if isinstance(chosen, Selection):
        name = type(selector).__name__
        raise TypeError(
            f"{name} merges or adds tokens, so it cannot be a part of another selector's set: put "
            "MergeDropped or Recycle outermost (only Per may stand around them), with the whole "
            "set inside"
        )
    return chosen


def signals_of(part: Asking) -> frozenset[Signal]:
    """Signals that a selector, or anything inside it, asks for."""
    found = frozenset(part.needs)
    for child in _held(part):
        found |= signals_of(child)
    return found


def children(selector: Selector) -> Iterator[Selector]:
    """Selectors held in the fields of a selector, directly or in a mapping."""
    return (part for part in _held(selector) if isinstance(part, Selector))


def _held(part: Asking) -> Iterator[Asking]:
    """What asks for signals in the fields of a part, directly or in a mapping."""
    for item in fields(cast(Any, part)):
        value = getattr(part, item.name)
        members = value.values() if isinstance(value, dict) else (value,)
        yield from (member for member in members if isinstance(member, Asking))


def counts(
    tokens: VisualTokens, keep: float, of: Of, rounding: Rounding, minimum: int = 0
) -> list[int]:
    """A budget as a number of tokens in each row, less those that are reserved; see `Budget`."""
    reserved = tokens.reserved_count
    if isinstance(keep, int):
        wanted = [keep] * len(tokens.rows)
    else:
        totals = tokens.count if of == "current" else tokens.original_count
        if of == "eligible":
            totals = [n + k for n, k in zip(tokens.eligible_count, reserved, strict=True)]
        # 0.07 * 100 is 7.000000000000001: rounded first, so that ceil does not say 8
        is_float = rounding.startswith("float")
        wanted = [_ROUNDERS[rounding](keep * n if is_float else round(keep * n, 9)) for n in totals]
    return [
        max(min(max(n, minimum), now) - k, 0)
        for n, now, k in zip(wanted, tokens.count, reserved, strict=True)
    ]


def check_budget(owner: object, keep: float, of: str, rounding: str) -> None:
    """A ratio in (0, 1] given as float, or a count of at least 1 given as int.

    Raises:
        TypeError, ValueError: naming the class, the value and what is allowed.
    """
    name = setting(owner, "keep")
    if isinstance(keep, bool) or not isinstance(keep, int | float):
        raise TypeError(f"{name} is {keep!r}: it must be a ratio (float) or a count (int)")
    if isinstance(keep, int) and keep < 1:
        raise ValueError(f"{name} is the count {keep}: a count must be at least 1")
    if isinstance(keep, float) and not 0.0 < keep <= 1.0:
        raise ValueError(
            f"{name} is {keep}: a ratio must be in (0, 1]; write an integer for a count of tokens"
        )
    check_choice(setting(owner, "of"), of, get_args(Of))
    check_choice(setting(owner, "rounding"), rounding, _ROUNDERS)


class OneBudget(Selector):
    """What selectors with one total `keep` of their rows share; None where it is not a number."""

    keep: float | int | None
    of: Of

    @property
    def leaves_room(self) -> bool:
        return True

    def with_keep(self, keep: float) -> Selector:
        budgeted: Any = self
        return cast(Selector, replace(budgeted, keep=keep, of="original"))

    @property
    def share(self) -> float | None:
        is_share = isinstance(self.keep, float) and self.of == "original"
        return self.keep if is_share else None

    def share_after(self, previous: float) -> float | None:
        if isinstance(self.keep, float) and self.of == "current":
            return self.keep * previous
        return self.share


@dataclass(frozen=True)
class Budget(OneBudget):
    """A selector with a number of tokens to keep in each row.

    Attributes:
        keep: a ratio (float in (0, 1]) or a count (int).
        of: what a ratio is of: the row's tokens before any pruning, those left now, or those that a
            ranking may take now.
        rounding: how a ratio becomes a count; "round" is Python's (half to even), as published.
            These take 0.7 * 90 for the 63 that it means. "float_round" and "float_floor" take the
            product as floating point has it, 62.99999999999999, as authors' code does.
        minimum: never fewer than this.
    """

    keep: float | int
    _: KW_ONLY
    of: Of = "original"
    rounding: Rounding = "round"
    minimum: int = 0

    def __post_init__(self) -> None:
        check_budget(self, self.keep, self.of, self.rounding)

    def budget(self, tokens: VisualTokens) -> list[int]:
        """Tokens to keep in each row, at most the row's present ones; reserved ones count."""
        return counts(tokens, self.keep, self.of, self.rounding, self.minimum)


@dataclass(frozen=True)
class FixedBudget(Budget):
    """A selector that always keeps its budget, or all eligible tokens where these are fewer."""

    def sizes(self, tokens: VisualTokens) -> list[int] | None:
        return self.budget(tokens) if tokens.all_alike else None


@dataclass(frozen=True)
class Ranked(Budget):
    """The common selector: a score, and the best `keep` eligible tokens of each row.

    Ties go to the lower index.
    """

    @abstractmethod
    def score(self, tokens: VisualTokens) -> Tensor:
        """Score of each token, float32 `[R, N]`; higher is kept."""

    def select(self, tokens: VisualTokens) -> Tensor:
        return top(self.score(tokens.whole), tokens.eligible & tokens.valid, self.budget(tokens))

    def sizes(self, tokens: VisualTokens) -> list[int] | None:
        # a subclass with a `select` of its own may keep other numbers
        is_top = type(self).select is Ranked.select
        return self.budget(tokens) if is_top and tokens.all_alike else None


def top(score: Tensor, candidates: Tensor, k: Sequence[int] | Tensor) -> Tensor:
    """The `k` best candidates of each row.

    Args:
        score: `[R, N]`.
        candidates: bool `[R, N]`; only these can be taken.
        k: how many in each row, `[R]`; all candidates where there are fewer.

    Returns:
        bool `[R, N]`. Ties go to the lower index.
    """
    if not isinstance(k, Tensor):
        k = torch.tensor(k, dtype=torch.long).to(score.device, non_blocking=True)
    order = score.masked_fill(~candidates, -torch.inf).argsort(dim=1, descending=True, stable=True)
    best = torch.arange(score.shape[1], device=score.device) < k[:, None]
    return torch.zeros_like(candidates).scatter_(1, order, best.expand_as(order)) & candidates


def among(tokens: VisualTokens, wanted: Sequence[int]) -> list[int]:
    """At most as many of each row as a ranking may take now; see `VisualTokens.eligible_count`."""
    return [min(n, most) for n, most in zip(wanted, tokens.eligible_count, strict=True)]


def mask_at(columns: Tensor, real: Tensor, width: int) -> Tensor:
    """Tokens at these columns, bool `[R, width]`.

    Args:
        columns: long `[R, K]`; where they are not real, any.
        real: bool `[R, K]`.
    """
    mask = torch.zeros(len(columns), width + 1, dtype=torch.bool, device=columns.device)
    mask.scatter_(1, columns.masked_fill(~real, width), torch.ones_like(real))
    return mask[:, :width]


def columns_of(mask: Tensor, width: int) -> Tensor:
    """Columns of the tokens in a mask, bool `[R, N]`, ascending, long `[R, width]`.

    Rows with fewer tokens are filled up with columns of others.
    """
    return (~mask).to(torch.uint8).argsort(dim=1, stable=True)[:, :width]
