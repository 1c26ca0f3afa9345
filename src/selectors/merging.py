"""Merging: what is dropped lives on in the average of the kept token that it resembles most."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..tokens.signals import Signal
from ..tokens.visual import VisualTokens
from .base import Selector, columns_of, mask_of
from .combinators import Around
from .selection import Selection
from .similarity import most_similar, normalised


@dataclass(frozen=True)
class MergeDropped(Around):
    """`selector`, and every token that it drops is averaged into a kept one of the same row.

    Formula: a dropped token i goes to the kept token j with the largest cos(h_i, h_j); each kept
    token becomes the mean of itself and all that went to it. h are the inputs of the stage's layer,
    before the language model its embeddings.

    Cost: dropped x kept similarities of E dimensions, in chunks. Source: stage 1 of VScan (arXiv
    2505.22654); exact against its code (Tencent/SelfEvolvingAgent, a82450e). Inferred: newlines and
    separators neither give nor receive, and letterbox padding gives nothing.

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
    total, number = given_to_nearest(states, states, kept, dropped)
    return ((states.float() + total) / (1 + number)[..., None]).to(states.dtype)


def given_to_nearest(
    states: Tensor, vectors: Tensor, kept: Tensor, dropped: Tensor
) -> tuple[Tensor, Tensor]:
    """What kept tokens get from the dropped ones, each of which goes to the most similar kept one.

    Args:
        states: `[R, N, E]`.
        vectors: whose cosines are meant, `[R, N, E']`.
        kept, dropped: disjoint masks, bool `[R, N]`.

    Returns:
        the sum of what each token gets, float32 `[R, N, E]`, and of how many, float32 `[R, N]`.
    """
    total = torch.zeros_like(states, dtype=torch.float32)
    number = torch.zeros_like(kept, dtype=torch.float32)
    n_kept, n_dropped = torch.stack([kept.sum(dim=1), dropped.sum(dim=1)]).amax(dim=1).tolist()
    if not n_kept or not n_dropped:
        return total, number
    targets, givers = columns_of(kept, n_kept), columns_of(dropped, n_dropped)
    rows = torch.arange(len(states), device=states.device)[:, None]
    _, nearest = most_similar(
        vectors[rows, givers], vectors[rows, targets], kept.gather(1, targets)
    )
    weight = (dropped.gather(1, givers) & kept.any(dim=1, keepdim=True)).float()
    target = targets.gather(1, nearest)
    given = states[rows, givers].float() * weight[..., None]
    total.scatter_add_(1, target[..., None].expand(given.shape), given)
    return total, number.scatter_add(1, target, weight)


def sum_of_similar(
    states: Tensor, vectors: Tensor, weight: Tensor, kept: Tensor, dropped: Tensor, n: int
) -> Tensor:
    """For each kept token the weighted sum over the `n` other tokens, kept or not, most like it.

    Args:
        states: `[R, N, E]`, N at least 1.
        vectors: whose cosines are meant, `[R, N, E']`.
        weight: of each token in any sum, `[R, N]`.
        kept, dropped: disjoint masks of all tokens that count, bool `[R, N]`.

    Returns:
        float32 `[R, N, E]`; 0 for tokens that are not kept.
    """
    targets = columns_of(kept, int(kept.sum(dim=1).max()))
    rows = torch.arange(len(targets), device=targets.device)[:, None]
    vectors = normalised(vectors)
    cosine = vectors[rows, targets] @ vectors.transpose(1, 2)
    column = torch.arange(vectors.shape[1], device=vectors.device)
    hidden = ~(kept | dropped)[:, None] | (column == targets[..., None])
    nearest = cosine.masked_fill_(hidden, -torch.inf).topk(min(n, len(column)), dim=2).indices
    given = weight[:, None].expand_as(cosine).gather(2, nearest)
    weights = torch.zeros_like(cosine).scatter_(2, nearest, given).masked_fill_(hidden, 0.0)
    total = (weights @ states.float()) * kept.gather(1, targets)[..., None]
    result = torch.zeros_like(states, dtype=torch.float32)
    return result.scatter_add_(1, targets[..., None].expand_as(total), total)
