"""Idefics3 and SmolVLM: square tiles between marks, row by row, and the whole image last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from transformers import Idefics3Processor

from .base import Family
from .blocks import Block


class _Square(NamedTuple):
    """A run of image tokens; whether it begins a line of tiles, or is the whole image."""

    start: int
    begins_line: bool


class Idefics3(Family):
    """A "tile" row for each tile, then a "thumbnail" row; a picture that is not cut has only that.

    A token of its own stands before each square and once more behind the whole image, so two of it
    stand between images; a line break before it ends a line. That tells the layout however many
    tokens the names of the tiles and the line breaks take. A frame of a video is an image of its
    own. Nothing is published for this family: the share of Qwen2.5-VL-7B's layer is taken
    (inferred).
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
        return [
            block
            for sample, ids in enumerate(input_ids.tolist())
            for image, squares in enumerate(_images(ids, core.config.image_token_id, side * side))
            for block in _blocks(sample, image, side, squares)
        ]

    def input_sizes(self, inputs: Mapping[str, Any], processor: Any) -> list[tuple[int, int]]:
        """Not known: tiles are resized on their own, and padded."""
        return []

    def load_processor(self, folder: Path) -> Any:
        return TilesProcessor.from_pretrained(folder, backend="pil")


def _images(ids: list[int], image_token: int, size: int) -> list[list[_Square]]:
    """The squares of each image of a sample, in order.

    Raises:
        ValueError: image tokens do not stand in runs of `size`, or nothing closes the last one.
    """
    where = [i for i, token in enumerate(ids) if token == image_token]
    starts = where[::size]
    runs = [slot for start in starts for slot in range(start, start + size)]
    if where != runs or (where and where[-1] + 1 == len(ids)):
        raise ValueError(
            f"image tokens do not stand in runs of {size}, each between marks: pass input_ids as "
            "the processor returns them"
        )
    images: list[list[_Square]] = []
    end = 0
    for start in starts:
        mark = ids[starts[-1] + size]  # what closes the last image stands around all squares
        between = ids[end:start]
        if not images or between.count(mark) > 1:
            images.append([])
        images[-1].append(_Square(start, begins_line=between[:1] != [mark]))
        end = start + size
    return images


def _blocks(sample: int, image: int, side: int, squares: Sequence[_Square]) -> list[Block]:
    """The tiles of one image, line by line, and its whole."""
    *tiles, whole = squares
    later = [i for i, tile in enumerate(tiles) if i and tile.begins_line]
    columns = later[0] if later else max(1, len(tiles))
    grid = torch.tensor([len(tiles) // columns, columns])
    blocks = []
    for i, tile in enumerate(tiles):
        block = Block.full(sample, image, "tile", (side, side), tile.start)
        place = torch.tensor(divmod(i, columns))
        xy = (block.xy + place.flip(0)) / grid.flip(0)
        blocks.append(replace(block, xy=xy, thumbnail_cell=(xy.flip(-1) * side).long()))
    return [*blocks, Block.full(sample, image, "thumbnail", (side, side), whole.start)]


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
