"""Implicit visual coordinates: tokens whose rotary rotation is near identity or near 90 degrees."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..tokens import VisualTokens
from .base import Budget, top


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
    angles = positions[..., None].float() * inv_freq.float()
    return _sum_axes(angles.cos().sum(-1)), _sum_axes(angles.sin().sum(-1))


def _sum_axes(scores: Tensor) -> Tensor:
    """Sum of `[A, R, N]` over the axes as (h + w) + t.

    Addition commutes exactly but does not associate: in this order the positions (h, w) and (w, h)
    tie exactly, as their symmetry demands, and the stated tie-break decides.
    """
    if scores.shape[0] == 3:
        time, height, width = scores
        return (height + width) + time
    return scores.sum(dim=0)


@dataclass(frozen=True, kw_only=True)
class IVCSelector(Budget):
    """Implicit visual coordinate tokens (Eq. 8): top-k by V(m), united with top-k by U(m).

    Content plays no part, only positions. `keep` is the share of EACH of the two rankings, as
    published: 10 % means up to 20 % of the tokens, since the two sets hardly overlap.
    All tokens of a row can be coordinates, also letterbox padding.
    """

    keep: float | int = 0.1

    def select(self, tokens: VisualTokens) -> Tensor:
        real, imaginary = coordinate_scores(tokens.positions, tokens.inv_freq)
        k = self.budget(tokens)
        return top(real, tokens.valid, k) | top(imaginary, tokens.valid, k)

    def with_keep(self, keep: float) -> IVCSelector:
        raise ValueError(
            f"IVCSelector keeps the union of two rankings, so it cannot keep exactly {keep}: "
            "put it into a TopUp with a ranking that fills the rest"
        )
