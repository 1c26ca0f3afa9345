"""DART: keep what differs from a few pivot tokens, rather than what seems important."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, replace

import torch
from torch import Tensor

from ..tokens.visual import Signal, VisualTokens
from .base import Budget, Rounding, Selector, top
from .similarity import normalised


@dataclass(frozen=True)
class DARTSelector(Budget):
    """DART (Wen et al. 2025): duplication-aware reduction of tokens.

    Formula: pivots are the visual tokens and the text tokens behind the image whose rotated keys,
    all heads joined, have the largest L1 norm in the layer that just ran. The visual pivots stay;
    then each of the P pivots in turn adds the int(keep * N) // P tokens of lowest cosine similarity
    to it among those left, where the states are that layer's output behind the language model's
    FINAL norm. So image_pivots + P * (int(keep * N) // P) tokens stay. The turn of a pivot is where
    a Python set of the pivots' positions has it, which is what the authors' code iterates over.

    Cost: L1 norms of one layer's keys, which are in the cache; one norm and P x N dot products of
    E dimensions; one wait for the device, for the pivots' positions. Paper: arXiv 2502.11494. Exact
    against a fork of the authors' code (xqy1111111/DART, d6a5af6), theirs being ZichenWen1/DART.
    Deviation: with fewer text tokens than text pivots (the code refuses), P is what there is.

    Attributes:
        image_pivots: visual tokens to start from.
        text_pivots: text tokens to compare with.
        exact_budget: keep int(keep * N) tokens, the visual pivots among them: what is left of the
            budget is shared among the pivots to come. It is set where a policy is brought to a
            given share of tokens (`average_tokens`).
    """

    keep: float | int = 0.5
    _: KW_ONLY
    rounding: Rounding = "float_floor"
    image_pivots: int = 4
    text_pivots: int = 4
    exact_budget: bool = False

    needs = frozenset({Signal.KEYS, Signal.HIDDEN})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.image_pivots < 1 or self.text_pivots < 0:
            raise ValueError(
                f"DARTSelector.image_pivots is {self.image_pivots} and text_pivots is "
                f"{self.text_pivots}: at least 1 and 0 are needed"
            )

    def with_keep(self, keep: float) -> Selector:
        return replace(self, keep=keep, of="original", exact_budget=True)

    def select(self, tokens: VisualTokens) -> Tensor:
        candidates = tokens.eligible & tokens.valid
        if not tokens.shape[1]:
            return candidates
        wanted = torch.tensor(self.budget(tokens)).to(tokens.device, non_blocking=True)
        norm = _norm(tokens.keys())
        n_start = torch.full_like(wanted, self.image_pivots)
        kept = top(norm, candidates, n_start.minimum(wanted) if self.exact_budget else n_start)
        states = normalised(tokens.hidden(normed=True))
        pivots, mask = self._pivots(tokens, norm, candidates, states)
        n_left = mask.sum(dim=1)
        share = wanted // n_left.clamp(min=1)
        for number in range(pivots.shape[1]):
            if self.exact_budget:
                missing = wanted - kept.sum(dim=1)
                share = -(-missing // n_left.clamp(min=1))
            similarity = torch.einsum("rne,re->rn", states, pivots[:, number])
            adds = share.masked_fill(~mask[:, number], 0)
            kept |= top(-similarity, candidates & ~kept, adds)
            n_left = n_left - mask[:, number].long()
        return kept

    def _pivots(
        self, tokens: VisualTokens, norm: Tensor, candidates: Tensor, states: Tensor
    ) -> tuple[Tensor, Tensor]:
        """States of the pivots in the order of their turns, `[R, P, E]`, and a mask `[R, P]`."""
        text, is_text = tokens.text_hidden("following_image", normed=True)
        text_keys, _ = tokens.text_keys("following_image")
        image, in_image = _largest(norm, candidates, self.image_pivots)
        asking, in_text = _largest(_norm(text_keys), is_text, self.text_pivots)
        rows = torch.arange(len(norm), device=norm.device)[:, None]
        vectors = torch.cat([states[rows, image], normalised(text)[rows, asking]], dim=1)
        mask = torch.cat([in_image, in_text], dim=1)
        slots = tokens.text("following_image").slots.to(tokens.device)[tokens.sample]
        place = torch.cat([tokens.slot[rows, image], slots[rows, asking]], dim=1)
        turns = _turns(place - _first(tokens)[tokens.sample][:, None], mask)
        return vectors[rows, turns], mask[rows, turns]


def _norm(keys: Tensor) -> Tensor:
    """L1 norm of keys `[R, H, L, D]`, heads joined, float32 `[R, L]`."""
    return keys.float().abs().sum(dim=(1, 3))


def _largest(norm: Tensor, allowed: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Columns of the up to `n` allowed tokens of largest norm, largest first, and which are some.

    Args:
        norm: `[R, L]`.
        allowed: bool `[R, L]`.

    Returns:
        long and bool `[R, min(n, L)]`.
    """
    order = norm.masked_fill(~allowed, -torch.inf).argsort(dim=1, descending=True, stable=True)
    return order[:, :n], allowed.gather(1, order[:, :n])


def _first(tokens: VisualTokens) -> Tensor:
    """Slot of each sample's first token, behind its padding, long `[B]`."""
    text = tokens.text("all")
    far = 1 << 62  # a power of 2: padding is written by way of floating point
    places = text.slots.masked_fill(~text.mask, far).to(tokens.device)
    # one column more, for samples without any text
    first = torch.nn.functional.pad(places, (0, 1), value=far).amin(dim=1)
    visual = tokens.slot.masked_fill(~tokens.valid, far).amin(dim=1)
    return first.scatter_reduce(0, tokens.sample, visual, "amin")


def _turns(place: Tensor, mask: Tensor) -> Tensor:
    """Columns of the pivots in the order in which a Python set of their places iterates.

    Args:
        place: in the sequence without padding, long `[R, P]`; a set's order depends on the values.
        mask: real pivots, bool `[R, P]`; the others come last.
    """
    turns = []
    for row in place.masked_fill(~mask, -1).tolist():
        order = [row.index(pivot) for pivot in set(filter(lambda pivot: pivot >= 0, row))]
        turns.append([*order, *(i for i in range(len(row)) if i not in order)])
    return torch.tensor(turns, device=place.device).view(place.shape)
