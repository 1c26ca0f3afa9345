"""FastVID: segments of like frames, of which attention and density peaks keep tokens."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

import torch
from torch import Tensor

from ..checks import check_at_least, check_fraction, setting
from ..tokens.signals import Signal
from ..tokens.visual import VisualTokens
from .anchors import merged_into_anchors
from .base import Of, OneBudget, check_budget, counts, top
from .clustering import peak_scores
from .regrouped import selection_to_parent
from .segments import Segments, segments_of
from .selection import Selection

_NEAREST = 4
"""Tokens that a density is of."""


@dataclass(frozen=True)
class FastVIDSelector(OneBudget):
    """FastVID (Shen et al. 2025): segments of a video, attention and density peaks within them.

    Formula: a video is cut after the `segments` - 1 frames least like the next one (cosine of mean
    vectors), and wherever that cosine is below `similar`. Of a frame's T = int(keep * n) tokens, T
    - int(context * T) receive the most attention in the late layer of the vision tower. The others,
    int(context * T) for each frame of a segment, are density peaks (`density_peaks`, 4 nearest) of
    every `stride`-th frame, counted from the segment's last one. What no attention kept in the
    segment goes to its most similar peak in each of these frames, which becomes w h + (1 - w) mean,
    w = max(`own`, 1 / (1 + number)).

    Cost: n x n distances a frame, and tokens x peaks cosines a segment; 40 ms at 1,024 tokens in 16
    frames on one core, but about 400 ms for one picture of 1,000, whose distances are taken without
    matrix products so that equal vectors are at 0: with the tower's attention a quarter of the
    prefill of `job=efficiency`'s small model. Paper: arXiv 2503.11187. Exact
    against the authors' code for LLaVA-OneVision
    (github.com/LunarShen/FastVID, a40a109) where that runs, but for its random noise of 1e-6 on
    densities. Different: there segments and attention are those of SigLIP's pooling head, which the
    model does not hold; here they are of mean inputs of the language model, as in their code for
    Qwen2.5-VL, which however counts the tokens of a frame otherwise. Inferred: where a frame has
    too few tokens for its peaks, the segment's other frames have them; a segment that drops nothing
    merges nothing; a picture is a video of one frame.

    Attributes:
        keep: share of each frame's tokens, 10 % in the main setting.
        of: see `Budget`.
        context: share of T that are peaks; d of the paper.
        segments, similar: c and tau of the paper.
        stride, own: p and beta of the paper.
    """

    keep: float | int = 0.1
    _: KW_ONLY
    of: Of = "original"
    context: float = 0.4
    segments: int = 8
    similar: float = 0.9
    stride: int = 4
    own: float = 0.6

    needs = frozenset({Signal.HIDDEN, Signal.VISION_ATTENTION_LATE})

    def __post_init__(self) -> None:
        check_budget(self, self.keep, self.of, "float_floor")
        check_fraction(setting(self, "context"), self.context)
        check_fraction(setting(self, "own"), self.own)
        for name in ("segments", "stride"):
            check_at_least(setting(self, name), getattr(self, name), 1)

    def select(self, tokens: VisualTokens) -> Selection:
        frames = tokens.regroup("row")
        videos = frames.regroup("image")
        candidates, states = frames.eligible & frames.valid, frames.hidden()
        mean = (states.float() * candidates[..., None]).sum(dim=1)  # its length plays no part
        segments = segments_of(frames.blocks, mean, self.segments, self.similar)
        wanted = counts(frames, self.keep, self.of, "float_floor")
        total = [min(k, n) for k, n in zip(wanted, frames.count, strict=True)]
        context = [int(k * self.context) for k in total]
        n_salient = [k - c for k, c in zip(total, context, strict=True)]
        salient = top(frames.vision_attention(depth="late"), candidates, n_salient)
        others = candidates & ~salient
        n_peaks = self._peaks(segments, torch.tensor(context).to(others.device), others.sum(dim=1))
        peaks = top(peak_scores(states, others, _NEAREST), others, n_peaks)
        keep = salient | peaks | (frames.special & frames.valid)
        keep, others, peaks = (_in(videos, frames, mask) for mask in (keep, others, peaks))
        name = segments.name[videos.block]
        merged = merged_into_anchors(videos.hidden(), name, videos.block, others, peaks, self.own)
        of_frames = selection_to_parent(frames, videos, Selection(keep, merged))
        return selection_to_parent(tokens, frames, of_frames)

    def _peaks(self, segments: Segments, context: Tensor, available: Tensor) -> Tensor:
        """Peaks of each frame, long `[B]`.

        Args:
            context: peaks for each frame of a segment.
            available: tokens of each frame that could be one.
        """
        wanted = context * segments.length
        n_anchors = (segments.length + self.stride - 1) // self.stride
        is_anchor = segments.from_end % self.stride == 0
        share = (wanted // n_anchors) * is_anchor
        held = share.minimum(available)
        short = segments.sum((held < share).long()) > 0
        missing = ((wanted - segments.sum(held)) * short).clamp(min=0)
        elsewhere = missing // (segments.length - n_anchors).clamp(min=1)
        return torch.where(is_anchor, held, elsewhere.minimum(available))


def _in(videos: VisualTokens, frames: VisualTokens, mask: Tensor) -> Tensor:
    """A mask of the frames, `[B, N]`, as one of the videos that they were regrouped to."""
    if videos is frames or videos.source is None:
        return mask
    return mask.flatten()[videos.source.clamp(max=mask.numel() - 1)] & videos.valid
