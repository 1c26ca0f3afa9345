"""VisPruner: tokens that the vision tower attends to, and what is left once duplicates are gone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass

import torch
from torch import Tensor

from ..checks import check_at_least, check_fraction, setting
from ..tokens.signals import Signal
from ..tokens.visual import VisualTokens
from .base import FixedBudget, among, columns_of, mask_at
from .similarity import cosines


@dataclass(frozen=True)
class VisPrunerSelector(FixedBudget):
    """VisPruner (Zhang et al. 2025): important tokens, and diverse ones among the others.

    Formula: of the T kept tokens, int(important * T) receive the most attention in the late layer
    of the vision tower. The others are a list, most attended first, which loses `step` tokens a
    round until T are left: each token at an even place has its largest cosine (of tower features)
    to one at an odd place, and those with the largest go. The next list is the even ones by falling
    similarity, then the odd ones.

    Cost: N x N cosines once, and (N - T) / `step` rounds over a quarter of them, about 60 ms at
    1,024 tokens on one core; and the attention received in a layer of the tower, on Qwen 0.17 s at
    1,000 tokens: 11 % of the prefill of `job=efficiency`'s small model. Paper: arXiv 2412.01818.
    Exact against the authors' code
    (github.com/Theia-4869/VisPruner, aefa01a), each tile with a budget of its own as there.
    Inferred: lists of odd length and rounds with fewer than `step` even places, at which that code
    fails.

    Attributes:
        keep: T; 128 of LLaVA's 576 tokens is the paper's main setting.
        important: share of T by attention.
        step: most tokens that a round drops.
    """

    keep: float | int = 0.2222
    _: KW_ONLY
    important: float = 0.5
    step: int = 8

    needs = frozenset({Signal.FEATURES, Signal.VISION_ATTENTION_LATE})

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fraction(setting(self, "important"), self.important)
        check_at_least(setting(self, "step"), self.step, 1)

    def select(self, tokens: VisualTokens) -> Tensor:
        candidates = tokens.eligible & tokens.valid
        width = tokens.shape[1]
        budget = self.budget(tokens)
        total = among(tokens, budget)
        first = among(tokens, [int(k * self.important) for k in budget])
        attention = tokens.vision_attention(depth="late").masked_fill(~candidates, -torch.inf)
        order = attention.argsort(dim=1, descending=True, stable=True)
        start = torch.tensor(first).to(order.device, non_blocking=True)[:, None]
        place = torch.arange(width, device=order.device)
        important = mask_at(order, (place < start).expand_as(order), width)
        lengths = [n - k for n, k in zip(tokens.eligible_count, first, strict=True)]
        wanted = [n - k for n, k in zip(total, first, strict=True)]
        if not any(wanted):
            return important
        others = order.gather(1, (start + place).clamp(max=width - 1))[:, : max(lengths)]
        diverse, real = self._diverse(cosines(tokens.features()), others, lengths, wanted)
        return important | mask_at(diverse, real, width)

    def _diverse(
        self, similarity: Tensor, columns: Tensor, lengths: Sequence[int], wanted: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        """What is left of the lists: columns, and which of them are real.

        Args:
            similarity: cosines `[R, N, N]`.
            columns: the tokens of each list, long `[R, M]`.
            lengths, wanted: of each list now, and in the end.
        """
        left, rows = list(lengths), torch.arange(len(columns), device=columns.device)[:, None, None]
        length, goal = torch.tensor([lengths, wanted]).to(columns.device)[:, :, None]
        while any(n > k for n, k in zip(left, wanted, strict=True)):
            left = [n - self._dropped(n, k) for n, k in zip(left, wanted, strict=True)]
            even, odd = columns[:, ::2], columns[:, 1::2]
            n_even, n_odd = (length + 1) // 2, length // 2
            drop = (length - goal).clamp(max=self.step).minimum(n_even)
            place, odd_place = (torch.arange(x.shape[1], device=x.device) for x in (even, odd))
            pairs = similarity[rows, even[:, :, None], odd[:, None]]
            nearest = pairs.masked_fill(odd_place >= n_odd[:, :, None], -2.0)
            nearest = nearest.amax(dim=2) if odd.shape[1] else even.new_zeros(even.shape).float()
            order = nearest.masked_fill(place >= n_even, -torch.inf).argsort(
                dim=1, descending=True, stable=True
            )
            kept = torch.cat([(place >= drop) & (place < n_even), odd_place < n_odd], dim=1)
            members = torch.cat([even.gather(1, order), odd], dim=1)
            columns = members.gather(1, columns_of(kept, max(left)))
            length = length - drop
        return columns, torch.arange(columns.shape[1], device=columns.device) < length

    def _dropped(self, length: int, wanted: int) -> int:
        """Tokens that a list loses in the next round."""
        return min(self.step, length - wanted, (length + 1) // 2)
