"""Anchors: kept tokens of some frames of a segment, which the segment's others are merged into."""

from __future__ import annotations

import torch
from torch import Tensor

from .base import columns_of
from .similarity import normalised


def merged_into_anchors(
    states: Tensor, segment: Tensor, frame: Tensor, gives: Tensor, is_anchor: Tensor, own: float
) -> Tensor:
    """States in which an anchor is w h + (1 - w) times the mean of what goes to it.

    In each frame with anchors, every giver of the same segment, the anchors among them, goes to the
    anchor with the largest cosine (ties to the lower index); w = max(own, 1 / (1 + number)).
    Anchors of a segment in which all givers are anchors stay as they are.

    Args:
        states: `[V, M, E]`.
        segment: of each token, long `[V, M]`.
        frame: of each token, long `[V, M]`, ascending.
        gives: bool `[V, M]`.
        is_anchor: some of the givers, bool `[V, M]`.
        own: least weight of an anchor's own state.

    Returns:
        `[V, M, E]` in the dtype of `states`.
    """
    most = int(is_anchor.sum(dim=1).max()) if is_anchor.numel() else 0
    if not most:
        return states
    vectors, exact = normalised(states), states.float()
    targets = columns_of(is_anchor, most)
    rows = torch.arange(len(targets), device=targets.device)[:, None]
    same = (segment[:, :, None] == segment[rows, targets][:, None]) & gives[:, :, None]
    same &= is_anchor.gather(1, targets)[:, None]
    cosine = (vectors @ vectors[rows, targets].transpose(1, 2)).masked_fill_(~same, -torch.inf)
    goes = (_is_best(cosine, frame.gather(1, targets)) & same).float()
    number = goes.sum(dim=1)[..., None]
    mean = goes.transpose(1, 2) @ exact / number.clamp(min=1)
    weight = (1 / (1 + number)).clamp(min=own)
    drops = (same & ~is_anchor[:, :, None]).any(dim=1)[..., None]
    change = (1 - weight) * (mean - exact[rows, targets]) * drops
    return exact.scatter_add(1, targets[..., None].expand_as(change), change).to(states.dtype)


def _is_best(cosine: Tensor, frame: Tensor) -> Tensor:
    """Whether a target is a giver's best one of its own frame, bool `[V, M, K]`.

    Args:
        cosine: `[V, M, K]`.
        frame: of each target, long `[V, K]`, ascending.
    """
    # frames numbered from 0 on: by how often the frame changes before the target
    number = torch.nn.functional.pad(frame.diff(dim=1) != 0, (1, 0)).long().cumsum(dim=1)
    index = number[:, None].expand_as(cosine)
    best = torch.full_like(cosine, -torch.inf).scatter_reduce(2, index, cosine, reduce="amax")
    column = torch.arange(cosine.shape[2], device=cosine.device).expand_as(cosine)
    is_best = cosine == best.gather(2, index)
    after = cosine.shape[2]
    first = torch.full_like(column, after).scatter_reduce(
        2, index, column.masked_fill(~is_best, after), reduce="amin"
    )
    return first.gather(2, index) == column
