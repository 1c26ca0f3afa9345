"""Density peaks: clusters around tokens that are dense and far from denser ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Clusters:
    """Up to C clusters of the M tokens of each row.

    Attributes:
        centres: column of each cluster's centre, best first, long `[R, C]`.
        valid: real clusters, bool `[R, C]`.
        member: cluster of each token, long `[R, M]`; C for padding.
    """

    centres: Tensor
    valid: Tensor
    member: Tensor

    def means(self, states: Tensor) -> Tensor:
        """Average of each cluster's states `[R, M, E]`: `[R, C, E]`, taken in float32."""
        n_rows, n_clusters = self.centres.shape
        total = states.new_zeros(n_rows, n_clusters + 1, states.shape[2], dtype=torch.float32)
        total.scatter_add_(1, self.member[..., None].expand(states.shape), states.float())
        size = torch.zeros(n_rows, n_clusters + 1, device=states.device)
        size.scatter_add_(1, self.member, torch.ones_like(self.member, dtype=torch.float32))
        return (total / size.clamp(min=1)[..., None])[:, :-1].to(states.dtype)


def density_peaks(states: Tensor, mask: Tensor, n_clusters: Sequence[int]) -> Clusters:
    """DPC-KNN clusters of each row's tokens.

    With d the Euclidean distance over sqrt(E): the density of a token is exp(-mean d^2) over its C
    nearest tokens, itself included; its separation is the distance to the nearest denser token, for
    the densest the largest distance in the row. The C tokens with the largest product of both are
    the centres, and every token joins its nearest centre. Of equally dense tokens the first counts
    as denser, and other ties go to the lower index.

    Args:
        states: `[R, M, E]`.
        mask: tokens to cluster, bool `[R, M]`.
        n_clusters: C of each row, at most its number of tokens; of some row at least 1.
    """
    wanted = torch.tensor(n_clusters).to(states.device, non_blocking=True)[:, None]
    place = torch.arange(max(n_clusters), device=states.device)
    valid = place < wanted
    distance = _distances(states, mask)
    density = _density(distance, wanted, max(n_clusters))
    peak = (density * _separation(distance, density, mask)).masked_fill(~mask, -torch.inf)
    centres = peak.argsort(dim=1, descending=True, stable=True)[:, : len(place)]
    to_centre = distance.gather(1, centres[..., None].expand(-1, -1, distance.shape[2]))
    member = to_centre.masked_fill(~valid[..., None], torch.inf).argmin(dim=1)
    # a centre stays in its own cluster, also where another one is the same vector
    own = torch.cat([member, member[:, :1]], dim=1)
    own.scatter_(1, centres.masked_fill(~valid, member.shape[1]), place.expand_as(centres))
    return Clusters(centres, valid, own[:, :-1].masked_fill(~mask, len(place)))


def peak_scores(states: Tensor, mask: Tensor, n_nearest: int) -> Tensor:
    """Density times separation of each token, as in `density_peaks`, `[R, M]`.

    Args:
        states: `[R, M, E]`.
        mask: tokens that count, bool `[R, M]`; the others get minus infinity.
        n_nearest: tokens that a density is of, all where there are fewer.
    """
    if not mask.shape[1]:
        return states.new_zeros(mask.shape, dtype=torch.float32)
    distance = _distances(states, mask)
    nearest = mask.sum(dim=1, keepdim=True).clamp(min=1, max=n_nearest)
    density = _density(distance, nearest, n_nearest)
    return (density * _separation(distance, density, mask)).masked_fill(~mask, -torch.inf)


def _distances(states: Tensor, mask: Tensor) -> Tensor:
    """Distances over sqrt(E), `[R, M, M]`; infinite from and to padding."""
    vectors = states.float()
    # by matrix products, equal vectors would not be at distance 0
    distance = torch.cdist(vectors, vectors, compute_mode="donot_use_mm_for_euclid_dist")
    both = mask[:, :, None] & mask[:, None]
    return (distance / states.shape[2] ** 0.5).masked_fill(~both, torch.inf)


def _density(distance: Tensor, n_nearest: Tensor, most: int) -> Tensor:
    """exp(-mean d^2) over the nearest tokens, `[R, M]`.

    Args:
        n_nearest: how many in each row, long `[R, 1]`; at most `most`.
    """
    squares = distance.sort(dim=2).values[:, :, :most].square()
    counted = torch.arange(squares.shape[2], device=distance.device) < n_nearest[:, :, None]
    total = torch.where(counted, squares, 0.0).sum(dim=2)
    return (-total / n_nearest.clamp(min=1)).exp()


def _separation(distance: Tensor, density: Tensor, mask: Tensor) -> Tensor:
    """Distance to the nearest denser token, `[R, M]`; for the densest the row's largest one."""
    number = torch.arange(density.shape[1], device=density.device)
    earlier = number < number[:, None]
    mine, other = density[:, :, None], density[:, None]
    denser = ((other > mine) | ((other == mine) & earlier)) & mask[:, None]
    nearest = distance.masked_fill(~denser, torch.inf).amin(dim=2)
    largest = distance.masked_fill(distance.isinf(), 0.0).amax(dim=(1, 2))
    return nearest.minimum(largest[:, None])
