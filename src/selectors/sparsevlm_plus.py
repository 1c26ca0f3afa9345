"""SparseVLM+: the raters' attention without the pull of nearness, in the heads that look."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

import torch
from torch import Tensor

from ..checks import check_at_least, setting
from ..tokens.attention import Queries
from ..tokens.chunks import chunks
from ..tokens.visual import VisualTokens
from .sparsevlm import SparseVLMSelector
from .spread import score_or_spread

_LEAST = 1e-6
_HEADS = 64
"""Heads of the largest models: chunks are cut before the weights of each are known."""


@dataclass(frozen=True)
class SparseVLMPlusSelector(SparseVLMSelector):
    """SparseVLM+ (Zhang et al. 2025): SparseVLM's raters, corrected for rotary decay, best heads.

    Formula: the weights of `SparseVLMSelector`, each divided by what rotation alone would give
    queries and keys that are all ones, sum over the frequencies of cos(frequency x distance); the
    score is the mean over the raters and over the `heads` heads whose sum over raters and visual
    tokens is largest. Nothing is recycled, and positions stay.

    Cost: as SparseVLM, and one product per rater and visual token. Paper: arXiv 2410.04417. Exact
    against one pruning step of the authors' second version (github.com/Gumpest/SparseVLMs, 26a5f48,
    USE_VERSION 2_0). Inferred: with several rotary axes each frequency takes the distance on its
    own axis; models of fewer heads use all; a correction of 0 counts as 1e-6.

    Attributes:
        heads: 14 in the official code, of 32 or 28.
    """

    keep: float | int = 0.5
    _: KW_ONLY
    heads: int = 14

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(setting(self, "heads"), self.heads, 1)

    def score(self, tokens: VisualTokens) -> Tensor:
        return tokens.memoise(("sparsevlm_plus", self.heads), lambda: self._score(tokens))

    def _score(self, tokens: VisualTokens) -> Tensor:
        raters = tokens.raters()
        n_raters = raters.mask.sum(dim=1).to(tokens.device)[tokens.sample]
        received = self._received(tokens, raters).masked_fill(~tokens.valid[:, None], 0.0)
        best = received.sum(dim=2).topk(min(self.heads, received.shape[1]), dim=1).indices
        chosen = received.gather(1, best[..., None].expand(-1, -1, received.shape[2]))
        score = chosen.mean(dim=1) / n_raters.clamp(min=1)[:, None]
        return score_or_spread(tokens, score, n_raters)

    def _received(self, tokens: VisualTokens, raters: Queries) -> Tensor:
        """Corrected weights of each head, summed over the raters, `[R, H, N]`."""
        positions, _ = tokens.text_positions("following_image")
        n_rows, width = tokens.shape
        total = torch.zeros(n_rows, 1, width, device=tokens.device)
        for some in chunks(raters.slots.shape[1], n_rows * width * _HEADS):
            asking = Queries(raters.slots[:, some], raters.mask[:, some])
            weights = tokens.head_attention(asking, layer="previous")
            decay = _rotation_alone(tokens, positions[:, :, some])
            total = total + (weights / decay[:, None]).sum(dim=2)
        return total


def _rotation_alone(tokens: VisualTokens, positions: Tensor) -> Tensor:
    """Products of rotated vectors of ones, up to a factor, `[R, Q, N]`.

    Args:
        positions: of the queries on each rotary axis, long `[A, R, Q]`.
    """
    asking, asked = (_turned(tokens, x) for x in (positions, tokens.positions))
    product = asking @ asked.transpose(1, 2)
    return torch.where(product.abs() < _LEAST, _LEAST, product)


def _turned(tokens: VisualTokens, positions: Tensor) -> Tensor:
    """Cosine and sine of each frequency at positions `[A, R, N]`: `[R, N, d]`."""
    angle = positions[tokens.frequency_axis].movedim(0, -1) * tokens.inv_freq.float()
    return torch.cat([angle.cos(), angle.sin()], dim=-1)
