"""VScan, first stage: local and global attention inside the vision tower."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

import torch
from torch import Tensor

from ..tokens.visual import Signal, VisualTokens
from .base import Budget, Rounding, top
from .windows import n_windows, rank_within, windows_of


@dataclass(frozen=True)
class VScanSelector(Budget):
    """VScan (Zhang et al. 2025), stage 1: half by early local, half by late global attention.

    Formula: of T = int(keep * N) tokens, T_loc = T // 2 are taken in the order of the attention
    that they receive in an early layer of the vision tower, at most ceil(T_loc / windows) in each
    window of the grid; the rest by the attention received in a late layer. The class token asks
    where the tower has one (LLaVA), else all patches do, on average. The model family names both
    layers, and averages the patches that it merges into a token.

    Cost: the attention received in two layers of the tower, in chunks of queries, or of one row
    where there is a class token. Source: the official code. Inferred: where windows are too small
    for T_loc tokens, the late layer fills up; with several blocks each is a picture of its own, so
    use it per row. `MergeDropped` around it is the method's merging.

    Attributes:
        window: side of a window in cells (of the merged grid): 4, for LLaVA 6.
    """

    keep: float | int = 0.6
    _: KW_ONLY
    rounding: Rounding = "floor"
    window: int = 4

    needs = frozenset({Signal.VISION_ATTENTION_EARLY, Signal.VISION_ATTENTION_LATE})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.window < 1:
            raise ValueError(f"VScanSelector.window is {self.window}: it must be at least 1")

    def select(self, tokens: VisualTokens) -> Tensor:
        candidates = tokens.eligible & tokens.valid
        local = self._local(tokens, candidates)
        total = torch.tensor(self.budget(tokens)).to(tokens.device, non_blocking=True)
        late = tokens.vision_attention(depth="late").masked_fill(local, torch.inf)
        return top(late, candidates, total)

    def _local(self, tokens: VisualTokens, candidates: Tensor) -> Tensor:
        """Up to half of the budget, capped in each window, bool `[R, N]`."""
        early = tokens.vision_attention(depth="early")
        n_local = [total // 2 for total in self.budget(tokens)]
        n_places = [n_windows(grid, self.window) for grid in tokens.grid]
        caps = [-(-n // places) for n, places in zip(n_local, n_places, strict=True)]
        cap = torch.tensor(caps).to(tokens.device, non_blocking=True)[:, None]
        within = rank_within(windows_of(tokens, candidates, self.window), early) < cap
        return top(early, candidates & within, n_local)
