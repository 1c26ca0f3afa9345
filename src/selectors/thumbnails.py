"""Thumbnails and tiles: what is chosen on the small picture is kept in the large one too."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..tokens.visual import VisualTokens
from .base import Selector, mask_of
from .combinators import Around, Per


@dataclass(frozen=True)
class ThumbnailSelector(Selector):
    """All tokens of blocks that show a whole picture: thumbnails, frames, images without tiles."""

    def select(self, tokens: VisualTokens) -> Tensor:
        return ~_in_tile(tokens) & tokens.valid


@dataclass(frozen=True)
class ThumbnailToTiles(Around):
    """`selector`, applied to thumbnails; tiles keep the tokens that show what it keeps there.

    An image that is cut into tiles has one thumbnail, which shows all of it. Which of its cells
    shows the area of a tile's token, the model family says (`VisualTokens.thumbnail_cell`). Images
    without tiles and video frames are ranked like thumbnails, and nothing is carried over.

    Attributes:
        selector: sees one row per thumbnail.
    """

    selector: Selector

    def select(self, tokens: VisualTokens) -> Tensor:
        """See `Selector.select`.

        Raises:
            ValueError: an image has tiles, but their layout is not known.
        """
        chosen = mask_of(Per("thumbnail", self.selector), tokens)
        return chosen | _shown_by(tokens, chosen)

    def within(self, keep: float) -> Selector:
        return self if self.share is None else self.with_keep(keep)


def _shown_by(tokens: VisualTokens, chosen: Tensor) -> Tensor:
    """Tokens of tiles whose area is shown by chosen tokens of the same image's thumbnail.

    Args:
        chosen: bool `[R, N]`, only tokens of thumbnails.
    """
    if not any(block.kind == "tile" for block in tokens.blocks):
        return torch.zeros_like(chosen)
    if tokens.thumbnail_cell is None:
        raise ValueError(
            "ThumbnailToTiles: how the tiles of an image are laid out is not known, since the "
            "inputs of the model do not say it: prepare them with the processor that "
            "`Family.load_processor` returns, and give the model all that it returns"
        )
    height, width = (max(sizes) for sizes in zip(*(b.grid for b in tokens.blocks), strict=True))
    numbers: dict[tuple[int, int], int] = {}
    for block in tokens.blocks:
        numbers.setdefault((block.sample, block.image), len(numbers))
    image = _per_token(tokens, [numbers[block.sample, block.image] for block in tokens.blocks])
    row, column = tokens.thumbnail_cell.clamp(min=0).unbind(dim=-1)
    place = (image * height + row) * width + column
    nowhere = len(numbers) * height * width
    kept = torch.zeros(nowhere + 1, dtype=torch.bool, device=tokens.device)
    kept[place.masked_fill(~chosen, nowhere)] = True
    is_shown = (tokens.thumbnail_cell >= 0).all(dim=-1) & _in_tile(tokens) & tokens.valid
    return kept[place] & is_shown


def _in_tile(tokens: VisualTokens) -> Tensor:
    return _per_token(tokens, [int(block.kind == "tile") for block in tokens.blocks]).bool()


def _per_token(tokens: VisualTokens, of_block: list[int]) -> Tensor:
    """A number of each block as one of each token, long `[R, N]`."""
    table = torch.tensor([*of_block, 0]).to(tokens.device, non_blocking=True)
    return table[tokens.block]
