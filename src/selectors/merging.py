"""Merging: what is dropped lives on in the average of the kept token that it resembles most."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..tokens.visual import Signal, VisualTokens
from .base import Selector, columns_of, mask_of
from .combinators import Around
from .selection import Selection
from .similarity import most_similar


@dataclass(frozen=True)
class MergeDropped(Around):
    """`selector`, and every token that it drops is averaged into a kept one of the same row.

    Formula: a dropped token i goes to the kept token j with the largest cos(h_i, h_j); each kept
    token becomes the mean of itself and all that went to it. h are the inputs of the stage's layer,
    before the language model its embeddings.

    Cost: dropped x kept similarities of E dimensions, in chunks. Source: stage 1 of VScan (Zhang et
    al. 2025); exact against its code, see `VScanSelector`. Inferred: newlines and separators
    neither give nor receive, and letterbox padding gives nothing.

    Attributes:
        selector: what is kept; it must be a mask, so this combinator stands outermost (in `Per`).
    """

    selector: Selector

    needs = frozenset({Signal.HIDDEN})

    def select(self, tokens: VisualTokens) -> Selection:
        content = tokens.valid & ~tokens.special
        keep = mask_of(self.selector, tokens) & content
        dropped = content & tokens.eligible & ~keep
        merged = merged_into_nearest(tokens.hidden(), keep, dropped)
        return Selection(keep | (tokens.special & tokens.valid), merged=merged)


def merged_into_nearest(states: Tensor, kept: Tensor, dropped: Tensor) -> Tensor:
    """States in which kept tokens are averages over themselves and their dropped neighbours.

    Args:
        states: `[R, N, E]`.
        kept, dropped: disjoint masks, bool `[R, N]`.

    Returns:
        `[R, N, E]` in the dtype of `states`; the average is taken in float32. A row that keeps
        nothing stays as it is.
    """
    n_kept, n_dropped = torch.stack([kept.sum(dim=1), dropped.sum(dim=1)]).amax(dim=1).tolist()
    if not n_kept or not n_dropped:
        return states
    targets, givers = columns_of(kept, n_kept), columns_of(dropped, n_dropped)
    rows = torch.arange(len(states), device=states.device)[:, None]
    given = states[rows, givers]
    _, nearest = most_similar(given, states[rows, targets], kept.gather(1, targets))
    weight = (dropped.gather(1, givers) & kept.any(dim=1, keepdim=True)).float()
    target = targets.gather(1, nearest)
    total = states.float().scatter_add(
        1, target[..., None].expand(given.shape), given.float() * weight[..., None]
    )
    members = torch.ones_like(kept, dtype=torch.float32).scatter_add(1, target, weight)
    return (total / members[..., None]).to(states.dtype)
