"""Segments of a video: runs of frames that resemble each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from ..tokens.rows import Row
from .frames import frame_numbers
from .similarity import normalised
from .windows import rank_within


@dataclass(frozen=True, eq=False)
class Segments:
    """The segment that each frame is in; what is no frame of a video is a segment by itself.

    Attributes:
        name: number of the segment, different in each video, long `[B]`.
        length: frames in it, long `[B]`.
        from_end: 0 for the last frame of it, long `[B]`.
    """

    name: Tensor
    length: Tensor
    from_end: Tensor

    def sum(self, values: Tensor) -> Tensor:
        """Sum over the frames of each frame's segment, long `[B]`."""
        return torch.zeros_like(values).scatter_add(0, self.name, values)[self.name]


def segments_of(blocks: Sequence[Row], features: Tensor, least: int, below: float) -> Segments:
    """Cuts each video where frames differ most from the next one.

    Args:
        blocks: B frames, and perhaps others.
        features: a vector of each, `[B, E]`.
        least: segments that each video is cut into at least, as far as it has frames.
        below: a cosine to the next frame below this cuts as well.
    """
    videos = _videos(blocks)
    order = sorted(range(len(blocks)), key=lambda i: videos[i])
    device, n = features.device, len(blocks)
    # pairs across the end of a video are videos of their own here, numbered behind all
    pairs = [
        videos[a] if videos[a] == videos[b] else n + i for i, (a, b) in enumerate(pairwise(order))
    ]
    video = torch.tensor([pairs], dtype=torch.long).to(device, non_blocking=True)
    place = torch.tensor(order, dtype=torch.long).to(device, non_blocking=True)
    vectors = normalised(features)[place]
    cosine = (vectors[:-1] * vectors[1:]).sum(dim=1)[None]
    cut = (video >= n) | (rank_within(video, -cosine) < least - 1) | (cosine < below)
    name = torch.nn.functional.pad(cut[0].long().cumsum(dim=0), (1, 0))[:n]
    length = torch.bincount(name, minlength=n)
    end = length.cumsum(dim=0)[name]
    from_end = end - 1 - torch.arange(n, device=device)
    back = place.argsort()
    return Segments(name[back], length[name][back], from_end[back])


def _videos(blocks: Sequence[Row]) -> list[int]:
    """A number for each video; blocks that are no frame get one each."""
    numbers, _ = frame_numbers(blocks)
    names: dict[tuple[int, int, int], int] = {}
    return [
        names.setdefault((block.sample, block.image, -1 if number >= 0 else i), len(names))
        for i, (block, number) in enumerate(zip(blocks, numbers, strict=True))
    ]
