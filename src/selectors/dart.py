"""DART: keep what differs from a few pivot tokens, rather than what seems important."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, replace

import torch
from torch import Tensor

from ..checks import check_at_least, setting
from ..tokens.signals import Signal
from ..tokens.visual import VisualTokens
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

    Cost: norms of one layer's cached keys, P x N dot products, one wait for the device. Paper:
    arXiv 2502.11494. Exact against a fork of the authors' code (xqy1111111/DART, d6a5af6; theirs is
    ZichenWen1/DART). With fewer text tokens than pivots (the code refuses), P is what there is.

    Attributes:
        image_pivots: visual tokens to start from.
        text_pivots: text tokens to compare with.
        exact_budget: keep int(keep * N) tokens, pivots included; what is left of it is shared among
            the pivots to come. Set where a policy is brought to a share (`average_tokens`).
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
        for name, least in (("image_pivots", 1), ("text_pivots", 0)):
            check_at_least(setting(self, name), getattr(self, name), least)

    def with_keep(self, keep: float) -> Selector:
        return replace(self, keep=keep, of="original", exact_budget=True)

    def select(self, tokens: VisualTokens) -> Tensor:
        candidates = tokens.eligible & tokens.valid
        if not tokens.shape[1]:
            return candidates
        wanted = torch.tensor(self.budget(tokens)).to(tokens.device, non_blocking=True)
        norm = _norm(tokens.keys())
        n_pivots = torch.full_like(wanted, self.image_pivots)
        kept = top(norm, candidates, n_pivots.minimum(wanted) if self.exact_budget else n_pivots)
        states = normalised(tokens.hidden(normed=True))
        pivots, mask = self._pivots(tokens, norm, candidates, states)
        share = wanted // mask.sum(dim=1).clamp(min=1)
        for number in range(pivots.shape[1]):
            if self.exact_budget:
                missing = wanted - kept.sum(dim=1)
                share = -(-missing // mask[:, number:].sum(dim=1).clamp(min=1))
            similarity = torch.einsum("rne,re->rn", states, pivots[:, number])
            kept |= top(-similarity, candidates & ~kept, share * mask[:, number])
        return kept

    def _pivots(
        self, tokens: VisualTokens, norm: Tensor, candidates: Tensor, states: Tensor
    ) -> tuple[Tensor, Tensor]:
        """States of the pivots in the order of their turns, `[R, P, E]`, and a mask `[R, P]`."""
        text, is_text = tokens.text_hidden("following_image", normed=True)
        text_norm = _norm(tokens.text_keys("following_image")[0])
        image, in_image = _largest(norm, candidates, self.image_pivots)
        asking, in_text = _largest(text_norm, is_text, self.text_pivots)
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
    """Columns of the `n` allowed tokens of largest norm `[R, L]`, best first, and whether real."""
    order = norm.masked_fill(~allowed, -torch.inf).argsort(dim=1, descending=True, stable=True)
    return order[:, :n], allowed.gather(1, order[:, :n])


def _first(tokens: VisualTokens) -> Tensor:
    """Slot of each sample's first token, behind its padding, long `[B]`."""
    text = tokens.text("all")
    far = torch.iinfo(torch.long).max
    places = text.slots.masked_fill(~text.mask, far).to(tokens.device)
    # one column more, for samples without any text
    first = torch.cat([places, places.new_full((len(places), 1), far)], dim=1).amin(dim=1)
    visual = tokens.slot.masked_fill(~tokens.valid, far).amin(dim=1)
    return first.scatter_reduce(0, tokens.sample, visual, "amin")


def _turns(place: Tensor, mask: Tensor) -> Tensor:
    """Columns of real pivots in the order of a set of their places (no padding), then of others."""
    turns = []
    for row in place.masked_fill(~mask, -1).tolist():
        order = [row.index(pivot) for pivot in set(filter(lambda pivot: pivot >= 0, row))]
        turns.append([*order, *(i for i in range(len(row)) if i not in order)])
    return torch.tensor(turns, device=place.device).view(place.shape)
