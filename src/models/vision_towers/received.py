"""Attention received: column means of a full softmax, in memory linear in the number of patches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ...tokens.chunks import chunks
from ...tokens.signals import VisionQueries


@dataclass(frozen=True, eq=False)
class Received:
    """Attention that patches receive, averaged over heads, float32.

    Attributes:
        mean: from the mean over the patches of the same picture.
        cls: from the class token; equals `mean` in towers without one.
    """

    mean: Tensor
    cls: Tensor

    def each(self, change: Callable[[Tensor], Tensor]) -> Received:
        """The same change of both."""
        if self.cls is self.mean:
            return without_class(change(self.mean))
        return Received(change(self.mean), change(self.cls))

    def of(self, queries: VisionQueries) -> Tensor:
        return self.cls if queries == "cls" else self.mean


def without_class(mean: Tensor) -> Received:
    return Received(mean, mean)


def received(
    queries: Tensor, keys: Tensor, scaling: float, *, class_token: bool = False
) -> Received:
    """Attention that the patches of each picture receive.

    The softmax of each query runs over the whole picture, the class token included; the mean runs
    over the queries of the patches alone (inferred: no method averages where there is a class
    token).

    Args:
        queries: `[n, H, P, D]`, a class token first.
        keys: `[n, H, P, D]`.
        scaling: of the attention module.
        class_token: whether there is one; as a key it is left out of the result.

    Returns:
        `[n, P]` or, without the class token, `[n, P - 1]`.
    """
    n_pictures, n_heads, n_queries = queries.shape[:3]
    first = int(class_token)
    transposed = keys.float().transpose(-1, -2)
    total = cls = torch.zeros(n_pictures, n_queries, device=keys.device)
    for some in chunks(n_queries, n_pictures * n_heads * n_queries):
        asking = queries[:, :, some].float()
        weights = (asking @ transposed).mul_(scaling).softmax(dim=-1).mean(dim=1)
        if class_token and some.start == 0:
            cls, weights = weights[:, 0], weights[:, 1:]
        total = total + weights.sum(dim=1)
    mean = (total / max(1, n_queries - first))[:, first:]
    return Received(mean, cls[:, first:]) if class_token else without_class(mean)


def received_in_segments(
    queries: Tensor, keys: Tensor, lengths: list[int], scaling: float
) -> Received:
    """The same for pictures of several sizes, packed one behind the other.

    Args:
        queries, keys: `[H, P, D]`.
        lengths: patches of each picture, P in all.
        scaling: of the attention module.

    Returns:
        `[P]` each.
    """
    mean = torch.zeros(keys.shape[1], device=keys.device)
    sizes = torch.tensor(lengths)
    starts = sizes.cumsum(0) - sizes
    for length in sorted(set(lengths)):  # pictures alike, as a video's frames are, go together
        place = (starts[sizes == length, None] + torch.arange(length)).to(keys.device)
        asking, asked = (x[:, place].transpose(0, 1) for x in (queries, keys))
        mean[place] = received(asking, asked, scaling).mean
    return without_class(mean)
