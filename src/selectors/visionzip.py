"""VisionZip: dominant tokens as they are, and contextual ones that the others are merged into."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

import torch
from torch import Tensor

from ..checks import check_fraction, setting
from ..tokens.signals import Signal
from ..tokens.visual import VisualTokens
from .base import FixedBudget, among, top
from .merging import given_to_nearest
from .selection import Selection
from .spread import every_step


@dataclass(frozen=True)
class VisionZipSelector(FixedBudget):
    """VisionZip (Yang et al. 2024): dominant tokens, and contextual ones that stand for the rest.

    Formula: of the T kept tokens, round(dominant * T) receive the most attention in the late layer
    of the vision tower. Of the others, in input order, T - dominant at equal steps are contextual.
    Every token that is left goes to the contextual one with the most similar key of that layer
    (cosine of the heads' mean), which becomes h + mean of what it gets.

    Cost: dropped x contextual cosines of one head's width, about 15 ms at 1,024 tokens on one core.
    Paper: arXiv 2412.04467. Exact against the authors' code (github.com/dvlab-research/VisionZip,
    3151f6d), kept sets and merged states of the same vectors. Different: that code merges before
    the projector and this behind it; it also passes the class token on, in the place of one
    dominant token, and puts contextual tokens behind the others, where these stay in their places.
    Inferred: keys of towers that rotate them are taken unrotated. A part of an outer set it cannot
    be, since it merges; in `Per` it can.

    Attributes:
        keep: T; 64 of LLaVA's 576 tokens is the main setting.
        dominant: share of T, 54 of 64.
    """

    keep: float | int = 0.1111
    _: KW_ONLY
    dominant: float = 0.84375

    needs = frozenset({Signal.HIDDEN, Signal.VISION_ATTENTION_LATE, Signal.VISION_KEYS_LATE})

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fraction(setting(self, "dominant"), self.dominant)

    def select(self, tokens: VisualTokens) -> Selection:
        candidates = tokens.eligible & tokens.valid
        total = among(tokens, self.budget(tokens))
        n_dominant = [round(k * self.dominant) for k in total]
        attention = tokens.vision_attention(depth="late")
        dominant = top(attention, candidates, n_dominant)
        others = candidates & ~dominant
        n_contextual = [k - n for k, n in zip(total, n_dominant, strict=True)]
        contextual = every_step(others, torch.tensor(n_contextual).to(tokens.device))
        merged = self._merged(tokens, contextual, others & ~contextual)
        return Selection(dominant | contextual | (tokens.special & tokens.valid), merged=merged)

    def _merged(self, tokens: VisualTokens, contextual: Tensor, dropped: Tensor) -> Tensor:
        states = tokens.hidden()
        keys = tokens.vision_keys(depth="late", rope=False).mean(dim=1)
        total, number = given_to_nearest(states, keys, contextual, dropped)
        merged = (states.float() + total / number.clamp(min=1)[..., None]).to(states.dtype)
        return torch.where(number[..., None] > 0, merged, states)
