"""Implicit visual coordinates: tokens whose rotary rotation is near identity or near 90 degrees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass

import torch
from torch import Tensor

from ..checks import check_choice, setting
from ..tokens.visual import VisualTokens
from .base import Budget, top

MOST_RANKINGS = 4
"""Of the scorers here: V and U of two axes."""

CoordinateScorer = Callable[[VisualTokens], Tensor]
"""Rankings of the tokens, float32 `[K, R, N]`; the best of each are coordinates."""


def coordinate_scores(positions: Tensor, inv_freq: Tensor) -> tuple[Tensor, Tensor]:
    """Closeness of each position's rotation to the identity and to 90 degrees (Eq. 5 and 7).

    V(m) = sum_k cos(m theta_k) and U(m) = sum_k sin(m theta_k), in float32 (in bfloat16 they tie
    massively). The axes of M-RoPE are summed, which ranks like the published mean over them.

    Args:
        positions: position ids on A rotary axes, long `[A, R, N]`.
        inv_freq: theta_k, float `[d / 2]`.

    Returns:
        V and U, float32 `[R, N]`.
    """
    real, imaginary = _per_axis_scores(positions, inv_freq)
    return _sum_axes(real), _sum_axes(imaginary)


def published(tokens: VisualTokens) -> Tensor:
    """V and U over all axes and all frequencies, as if each axis turned every dimension."""
    return torch.stack(coordinate_scores(tokens.positions, tokens.inv_freq))


def section_aware(tokens: VisualTokens) -> Tensor:
    """V and U of the rotations that M-RoPE really applies: each frequency turns with ONE axis."""
    positions = tokens.positions.float()[tokens.frequency_axis]
    angles = positions * tokens.inv_freq.float()[:, None, None]
    return torch.stack([angles.cos().sum(0), angles.sin().sum(0)])


def per_axis(tokens: VisualTokens) -> Tensor:
    """V and U of the height axis and of the width axis, each a ranking of its own.

    With one rotary axis this is `published`. The time axis, constant within a picture, is left out.
    """
    real, imaginary = _per_axis_scores(tokens.positions[-2:], tokens.inv_freq)
    return torch.cat([real, imaginary])


SCORERS: dict[str, CoordinateScorer] = {
    "published": published,
    "section_aware": section_aware,
    "per_axis": per_axis,
}


@dataclass(frozen=True)
class IVCSelector(Budget):
    """Implicit visual coordinate tokens (Eq. 8): top-k by V(m), united with top-k by U(m).

    Formula: V(m) and U(m) are the sums of cos(m theta_k) and sin(m theta_k) over the rotary
    frequencies. Content plays no part, only positions. `keep` is the share of EACH of the two
    rankings, as published: 10 % means up to 20 % of the tokens, since the two sets hardly overlap.
    Scorers with more rankings share the same total evenly. All tokens of a row can be coordinates,
    also letterbox padding.

    Cost: d / 2 sines and cosines a token. Paper: arXiv 2602.03060. Source: the published code
    (github.com/FireRedTeam/IVC-Prune, 03afd9c); the paper counts positions from 1, here they are
    the model's own. Deviation: in float32, where the published bfloat16 ties massively; ties go to
    the lower index.

    Attributes:
        coordinates: "published", "section_aware", "per_axis", or a scorer of your own.
    """

    keep: float | int = 0.1
    _: KW_ONLY
    coordinates: str | CoordinateScorer = "published"

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.coordinates, str):
            check_choice(setting(self, "coordinates"), self.coordinates, tuple(SCORERS))

    @property
    def leaves_room(self) -> bool:
        return False

    def rankings(self, tokens: VisualTokens) -> Tensor:
        """The rankings whose best tokens are coordinates, float32 `[K, R, N]`."""
        scorer = self.coordinates
        return (SCORERS[scorer] if isinstance(scorer, str) else scorer)(tokens)

    def of_each(self, tokens: VisualTokens, n_rankings: int) -> list[int]:
        """How many tokens of each row every ranking gives."""
        return [max(1, 2 * n // n_rankings) if n else 0 for n in self.budget(tokens)]

    def select(self, tokens: VisualTokens) -> Tensor:
        rankings = self.rankings(tokens)
        n_rankings = rankings.shape[0]
        k = self.of_each(tokens, n_rankings)
        candidates = tokens.valid.repeat(n_rankings, 1)
        chosen = top(rankings.flatten(0, 1), candidates, k * n_rankings)
        return chosen.view_as(rankings).any(dim=0)

    def at_most(self, tokens: VisualTokens) -> list[int] | None:
        """Twice the budget, or a token of each ranking; others' scorers may have any number."""
        if not isinstance(self.coordinates, str):
            return None
        return [max(MOST_RANKINGS, 2 * n) if n else 0 for n in self.budget(tokens)]

    def with_keep(self, keep: float) -> IVCSelector:
        raise ValueError(
            f"IVCSelector keeps the union of its rankings, so it cannot keep exactly {keep}: "
            "put it into a TopUp with a ranking that fills the rest"
        )


def _per_axis_scores(positions: Tensor, inv_freq: Tensor) -> tuple[Tensor, Tensor]:
    """V and U of each axis alone, float32 `[A, R, N]`."""
    angles = positions[..., None].float() * inv_freq.float()
    return angles.cos().sum(-1), angles.sin().sum(-1)


def _sum_axes(scores: Tensor) -> Tensor:
    """Sum of `[A, R, N]` over the axes as (h + w) + t.

    Addition commutes exactly but does not associate: in this order the positions (h, w) and (w, h)
    tie exactly, as their symmetry demands, and the stated tie-break decides.
    """
    if scores.shape[0] == 3:
        time, height, width = scores
        return (height + width) + time
    return scores.sum(dim=0)
