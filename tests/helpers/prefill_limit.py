"""The limit of prefill by FLOPs, worked out from a policy; see docs/performance.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ivcprune.policy import BoundPolicy


@dataclass(frozen=True)
class Sizes:
    """Of a decoder layer: hidden states, keys or values, and the MLP."""

    hidden: int
    grouped: int
    intermediate: int

    def flops(self, length: float) -> float:
        """Two for each multiply-add of a layer on `length` tokens, attention in full."""
        weights = self.hidden * (2 * self.hidden + 2 * self.grouped + 3 * self.intermediate)
        return 2 * length * weights + 4 * self.hidden * length**2


QWEN_7B = Sizes(hidden=3584, grouped=512, intermediate=18944)
BUNDLED = Sizes(hidden=128, grouped=64, intermediate=384)


def prefill_limit(
    bound: BoundPolicy,
    shares: Sequence[float],
    n_visual: float,
    n_text: float,
    sizes: Sizes,
    depth: int = 28,
) -> float:
    """Speed-up of the language model's prefill by FLOPs, the selections not counted.

    Args:
        shares: share of the original visual tokens left after each stage.
        depth: decoder layers.
    """
    starts = [0, *bound.layers.values(), depth]
    left = [1.0, *shares]
    spent = sum(
        (end - start) * sizes.flops(share * n_visual + n_text)
        for start, end, share in zip(starts[:-1], starts[1:], left, strict=True)
    )
    return depth * sizes.flops(n_visual + n_text) / spent
