"""What was kept, drawn on the grid of an image."""

from __future__ import annotations

import torch

from ivcprune.models.blocks import visual_tokens
from ivcprune.models.deepseek_vl2.layout import image_blocks
from ivcprune.models.deepseek_vl2.tiling import TileGeometry
from ivcprune.pruning.statistics import PrefillStatistics


def test_letterbox_and_newlines_are_no_part_of_a_picture():
    """A wide image: of the 14 lines of its thumbnail the upper and the lower 3 are letterbox."""
    blocks = image_blocks(0, 0, 0, (2, 1), (768, 384), TileGeometry())
    length = sum(len(block.cell) for block in blocks)
    tokens = visual_tokens(blocks, torch.arange(length)[None, None], torch.ones(2), ())
    # the first line of the picture itself stays, and all newlines and letterbox
    keep = tokens.valid & (~tokens.eligible | (tokens.cell[..., 0] == 3))
    after = tokens.survivors(keep, keep.sum(dim=1).tolist(), tokens.slot)
    stats = PrefillStatistics([length], [0], {}, tokens, after, [])
    thumbnail, separator, canvas = stats.kept_maps()
    assert thumbnail.grid == tuple(thumbnail.keep.shape) == (8, 14)
    assert thumbnail.keep[0].all()
    assert not thumbnail.keep[1:].any()
    assert separator.keep.numel() == 0
    assert canvas.grid == (14, 28)
    assert canvas.keep.sum(dim=1).tolist() == [0] * 3 + [28] + [0] * 10
