"""VScan, first stage: local and global attention inside the vision tower."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from ..checks import check_at_least, check_choice, setting
from ..tokens.signals import Signal
from ..tokens.visual import VisualTokens
from .base import Budget, Rounding, Selector, top
from .windows import rank_within

Quota = Literal["most", "each"]


@dataclass(frozen=True)
class VScanSelector(Budget):
    """VScan (Zhang et al. 2025), stage 1: half by early local, half by late global attention.

    Formula: of T = int(keep * N) tokens, T_loc = T // 2 are local: in the order of the attention
    that they receive in an early layer of the vision tower, at most ceil(T_loc / windows) in each
    window of the grid (`quota: most`, the code for Qwen), or exactly floor(T_loc / windows) of each
    window, fewer in all than T_loc where that does not come out even (`quota: each`, the code for
    LLaVA). T - T_loc more go by the attention received in a late layer. Windows are whole: what is
    left over at the lower and the right edge belongs to the last one. The class token asks where
    the tower has one (LLaVA), else all patches do, on average. The model family names both layers,
    and averages the patches that it merges into a token.

    Cost: the attention received in two layers of the tower, in chunks of queries, or of one row
    where there is a class token. On Qwen that is 4 patches a token, all asking all: for 1,000
    tokens 0.17 s of one core a layer, 14 % of the prefill of `job=efficiency`'s small model in all,
    which a larger one dwarfs. `MergeDropped` around it is the method's merging. Paper: arXiv
    2505.22654. Exact against the authors' code (Tencent/SelfEvolvingAgent, a82450e), on both
    families. Inferred: where windows are too small for T_loc tokens, the late layer fills up, and a
    side shorter than a window is one window (the code refuses both); with several blocks each is a
    picture of its own, so use it per row.

    Attributes:
        window: side of a window in cells (of the merged grid): 4, for LLaVA 6.
        quota: what a window gives, "most" or "each". Brought to a given share of tokens
            (`average_tokens`), it is "most", which meets the budget.
    """

    keep: float | int = 0.6
    _: KW_ONLY
    rounding: Rounding = "float_floor"
    window: int = 4
    quota: Quota = "most"

    needs = frozenset({Signal.VISION_ATTENTION_EARLY, Signal.VISION_ATTENTION_LATE})

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(setting(self, "window"), self.window, 1)
        check_choice(setting(self, "quota"), self.quota, get_args(Quota))

    def with_keep(self, keep: float) -> Selector:
        return replace(self, keep=keep, of="original", quota="most")

    def select(self, tokens: VisualTokens) -> Tensor:
        candidates = tokens.eligible & tokens.valid
        n_local = [total // 2 for total in self.budget(tokens)]
        n_global = [total - n for total, n in zip(self.budget(tokens), n_local, strict=True)]
        local = self._local(tokens, candidates, n_local)
        late = tokens.vision_attention(depth="late")
        if self.quota == "each":
            return local | top(late, candidates & ~local, n_global)
        # what the windows could not give, the late layer fills up
        total = torch.tensor(self.budget(tokens)).to(tokens.device, non_blocking=True)
        return top(late.masked_fill(local, torch.inf), candidates, total)

    def sizes(self, tokens: VisualTokens) -> list[int] | None:
        return self.budget(tokens) if self.quota == "most" and tokens.all_alike else None

    def _local(self, tokens: VisualTokens, candidates: Tensor, n_local: list[int]) -> Tensor:
        """The half that the windows share, bool `[R, N]`."""
        early = tokens.vision_attention(depth="early")
        sides = [[max(1, side // self.window) for side in grid] for grid in tokens.grid]
        places = [down * across for down, across in sides]
        is_most = self.quota == "most"
        quotas = [-(-n // p) if is_most else n // p for n, p in zip(n_local, places, strict=True)]
        quota = torch.tensor(quotas).to(tokens.device, non_blocking=True)[:, None]
        windows = whole_windows(tokens, self.window)
        # those that cannot be taken share one window more
        windows = windows.masked_fill(~candidates, max(places, default=0))
        within = candidates & (rank_within(windows, early) < quota)
        return top(early, within, n_local) if is_most else within


def whole_windows(tokens: VisualTokens, side: int) -> Tensor:
    """Window of each token, long `[R, N]`; the edges that are left over join the last ones."""
    number = (tokens.grid_size // side).clamp(min=1)
    place = (tokens.cell // side).minimum(number - 1)
    return place[..., 0] * number[..., 1] + place[..., 1]
