"""Idefics3 and SmolVLM: square tiles between marks, row by row, and the whole image last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import Idefics3Processor

from .base import Family
from .blocks import Block


@dataclass(frozen=True)
class _Square:
    """A run of image tokens, and what stands directly before it.

    Attributes:
        start: its first token.
        mark: the token before it: the tile's place, or the mark of the whole image.
        gap: tokens between the run before and this one.
    """

    start: int
    mark: int
    gap: int


class Idefics3(Family):
    """A "tile" row for each tile, then a "thumbnail" row; a picture that is not cut has only that.

    The last run of a sample shows a whole image, so the mark before it is that of whole images, and
    each image ends with one. Between the tiles of one line stand two marks, at the end of a line
    more. A frame of a video is an image of its own. Nothing is published for this family: the share
    of Qwen2.5-VL-7B's layer is taken (inferred).
    """

    name = "idefics3"
    model_types = ("idefics3", "smolvlm")

    def text_model(self, model: Any) -> nn.Module:
        return cast(nn.Module, cast(Any, self.core(model)).text_model)

    def default_layer(self, depth: int) -> int:
        """16/28 of the depth (inferred)."""
        return max(1, round(depth * 16 / 28))

    def blocks(self, core: Any, inputs: Mapping[str, Any], positions: Tensor) -> list[Block]:
        if (input_ids := inputs.get("input_ids")) is None:
            raise ValueError(
                "inputs_embeds came without input_ids: tiles are told by their marks, so pass "
                "input_ids beside inputs_embeds"
            )
        side = round(core.image_seq_len**0.5)
        blocks: list[Block] = []
        for sample, ids in enumerate(input_ids.tolist()):
            squares = _squares(ids, core.config.image_token_id, side * side)
            first, image = 0, 0
            for i, square in enumerate(squares):
                if square.mark == squares[-1].mark:
                    blocks += _image(sample, image, side, squares[first : i + 1])
                    first, image = i + 1, image + 1
        return blocks

    def input_sizes(self, inputs: Mapping[str, Any], processor: Any) -> list[tuple[int, int]]:
        """Not known: tiles are resized on their own, and padded."""
        raise ValueError(f"the sizes of images are not known to the family {self.name!r}")

    def load_processor(self, folder: Path) -> Any:
        return TilesProcessor.from_pretrained(folder, backend="pil")


def _squares(ids: Sequence[int], image_token: int, size: int) -> list[_Square]:
    where = [i for i, token in enumerate(ids) if token == image_token]
    starts = where[::size]
    if where != [slot for start in starts for slot in range(start, start + size)]:
        raise ValueError(
            f"image tokens do not stand in runs of {size}: pass input_ids as the processor "
            "returns them"
        )
    ends = [0, *(at + size for at in starts)]
    return [_Square(at, ids[at - 1], at - end) for at, end in zip(starts, ends, strict=False)]


def _image(sample: int, image: int, side: int, squares: Sequence[_Square]) -> list[Block]:
    """The tiles of one image, line by line, and its whole."""
    *tiles, whole = squares
    thumbnail = Block.full(sample, image, "thumbnail", (side, side), whole.start)
    if not tiles:
        return [thumbnail]
    within = min((tile.gap for tile in tiles[1:]), default=0)
    ends_line = [tile.gap > within for tile in tiles[1:]]
    columns = ends_line.index(True) + 1 if any(ends_line) else len(tiles)
    if not any(ends_line) and len(tiles) > 1 and whole.gap <= within + 1:
        columns = 1  # each tile ends its line
    grid = torch.tensor([len(tiles) // columns, columns])
    blocks = []
    for i, tile in enumerate(tiles):
        block = Block.full(sample, image, "tile", (side, side), tile.start)
        place = torch.tensor(divmod(i, columns))
        xy = (block.xy + place.flip(0)) / grid.flip(0)
        blocks.append(replace(block, xy=xy, thumbnail_cell=(xy.flip(-1) * side).long()))
    return [*blocks, thumbnail]


class TilesProcessor(Idefics3Processor):
    """`Idefics3Processor`; loads SmolVLM's checkpoints too, whose own class needs torchvision."""

    def prepare_inputs_layout(
        self,
        images: Any = None,
        text: Any = None,
        videos: Any = None,
        audio: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Images of the whole batch, in order, also where a sample has none."""
        flat = [x for item in images for x in item] if _is_nested(images) else images
        return super().prepare_inputs_layout(images=flat, text=text, **kwargs)


def _is_nested(images: Any) -> bool:
    return isinstance(images, list | tuple) and all(isinstance(x, list | tuple) for x in images)
