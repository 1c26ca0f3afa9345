"""The visual tokens of a picture in each family, and what a policy leaves of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from ivcprune.models.blocks import Block
from ivcprune.models.deepseek_vl2.layout import image_blocks
from ivcprune.models.deepseek_vl2.tiling import TileGeometry
from ivcprune.models.internvl.pictures import Picture, picture_blocks
from ivcprune.policy import BoundPolicy
from ivcprune.selectors import decision
from ivcprune.testing import RecordedSample, recorded_tokens
from ivcprune.tokens import Copies, VisualTokens

DEPTHS = {
    "qwen2_5_vl_3b": 36,
    "qwen2_5_vl_7b": 28,
    "qwen2_5_vl_32b": 64,
    "internvl2_5_8b": 32,
    "deepseek_vl2_small": 27,
    "llava_1_5_7b": 32,
}
"""Decoder layers of the real models."""


@dataclass(frozen=True, eq=False)
class LaidOut(RecordedSample):
    """A sample whose single picture is cut as `cut(sample, start)` says."""

    cut: Callable[[int, int], list[Block]] | None = None

    def blocks(self, number: int, padding: int) -> list[Block]:
        assert self.cut is not None
        return self.cut(number, padding + self.before)


def _qwen(sample: int, start: int) -> list[Block]:
    """640 x 480 pixels, a token for 28 x 28 of them."""
    return [Block.full(sample, 0, "image", (17, 23), start)]


def _llava(sample: int, start: int) -> list[Block]:
    return [Block.full(sample, 0, "image", (24, 24), start)]


def _internvl(sample: int, start: int) -> list[Block]:
    """3 x 2 tiles of 448 pixels and the thumbnail, 256 tokens each."""
    return picture_blocks(sample, 0, start, 7, 16, Picture((2, 3)))


def _deepseek(sample: int, start: int) -> list[Block]:
    """2 x 2 tiles of 384 pixels, 14 x 14 tokens each, newline tokens and the thumbnail."""
    return image_blocks(sample, 0, start, (2, 2), (640, 480), TileGeometry())


def _frames(sample: int, start: int) -> list[Block]:
    """Three frames of a video, 256 tokens each."""
    return [Block.full(sample, 0, "frame", (16, 16), start + 256 * i) for i in range(3)]


CUTS = {"qwen2_5_vl": _qwen, "llava": _llava, "internvl": _internvl, "deepseek_vl2": _deepseek}


@cache
def visual_input(family: str, video: bool = False) -> VisualTokens:
    """The tokens of one sample, with random signals."""
    cut = _frames if video else CUTS[family]
    n_tokens = sum(len(block.cell) for block in cut(0, 0))
    return recorded_tokens([LaidOut(((1, n_tokens),), cut=cut)])


def stage_shares(bound: BoundPolicy, tokens: VisualTokens) -> list[float]:
    """Share of the sample's tokens that is left after each stage, added ones among them."""
    before, left = sum(tokens.count), []
    for stage in bound.stages:
        signals, needs = tokens.signals, tokens.needs
        chosen = decision(stage.selector, tokens)
        keep = chosen.keep & tokens.valid
        counts, copies = keep.sum(dim=1), None
        if chosen.added is not None:
            new = chosen.added
            copies = Copies(new.origin, new.valid, tokens.slot.gather(1, new.origin))
            counts = counts + new.valid.sum(dim=1)
        tokens = tokens.survivors(keep, counts.tolist(), tokens.slot, copies)
        tokens = tokens.with_signals(signals, needs)
        left.append(sum(tokens.count) / before)
    return left
