"""Where visual tokens lie in the input, and the rows that selectors see of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..tokens.rows import Row
from ..tokens.visual import VisualTokens


@dataclass(frozen=True)
class Block:
    """One run of visual tokens in the input: an image, a video frame, a thumbnail or a tile.

    Attributes:
        sample, image, kind, grid: see `rows.Row`.
        start: index of the first token in the (padded) input sequence.
        cell: row and column of each token, long `[n, 2]` on the CPU.
        xy: centre of each token in the original image in [0, 1], float `[n, 2]` on the CPU.
        special: newline and separator tokens, bool `[n]`, or None for none.
        eligible: tokens that a ranking may take, bool `[n]`, or None for all.
        thumbnail_cell: of a tile, the cell of the image's thumbnail that shows the area of each
            token, long `[n, 2]`, (-1, -1) for none; None where that is not known.
    """

    sample: int
    image: int
    kind: str
    grid: tuple[int, int]
    start: int
    cell: Tensor
    xy: Tensor
    special: Tensor | None = None
    eligible: Tensor | None = None
    thumbnail_cell: Tensor | None = None

    @classmethod
    def full(cls, sample: int, image: int, kind: str, grid: tuple[int, int], start: int) -> Block:
        """A block whose tokens are its grid in raster order, covering the whole image."""
        height, width = grid
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        cell = torch.stack([rows, columns], dim=-1).view(-1, 2)
        xy = (cell.flip(-1) + 0.5) / torch.tensor([width, height])
        return cls(sample, image, kind, grid, start, cell, xy)


def visual_tokens(
    blocks: Sequence[Block],
    positions: Tensor,
    inv_freq: Tensor,
    seeds: Sequence[int],
    frequency_axis: Tensor | None = None,
) -> VisualTokens:
    """Rows of visual tokens from blocks.

    Args:
        blocks: in input order within each sample; at least one.
        positions: position ids of the input on each rotary axis, long `[A, B, S]`.
        inv_freq: rotary frequencies, float `[d / 2]`.
        seeds: one integer per batch element, or none.
        frequency_axis: rotary axis of each frequency, long `[d / 2]`; None: all of axis 0.
    """
    if frequency_axis is None:
        frequency_axis = torch.zeros(len(inv_freq), dtype=torch.long)
    device, length = positions.device, positions.shape[-1]
    counts = [len(block.cell) for block in blocks]
    column = torch.arange(max(counts))
    start = torch.tensor([block.start for block in blocks])
    before: dict[int, int] = {}
    offsets = []
    for block, count in zip(blocks, counts, strict=True):
        offsets.append(before.get(block.sample, 0))
        before[block.sample] = offsets[-1] + count
    index = (start[:, None] + column).clamp(max=length - 1).to(device)
    sample = torch.tensor([block.sample for block in blocks], device=device)
    rows = tuple(
        Row(b.sample, b.image, b.kind, b.grid, count, count)
        for b, count in zip(blocks, counts, strict=True)
    )
    falses = [torch.zeros(n, dtype=torch.bool) for n in counts]
    special = [f if b.special is None else b.special for b, f in zip(blocks, falses, strict=True)]
    eligible = [
        ~f if b.eligible is None else b.eligible for b, f in zip(blocks, falses, strict=True)
    ]
    return VisualTokens(
        rows=rows,
        blocks=rows,
        block=torch.arange(len(blocks), device=device)[:, None].expand(-1, max(counts)),
        index=index,
        slot=index,
        ordinal=_ordinals(offsets, counts).to(device),
        cell=_pad([block.cell for block in blocks], device),
        xy=_pad([block.xy for block in blocks], device),
        positions=positions[:, sample[:, None], index],
        inv_freq=inv_freq.to(device),
        frequency_axis=frequency_axis.to(device),
        special=_pad(special, device),
        eligible=_pad(eligible, device),
        all_alike=all(b.special is None and b.eligible is None for b in blocks),
        added=torch.zeros_like(index, dtype=torch.bool),
        seeds=tuple(seeds),
        thumbnail_cell=_thumbnail_cells(blocks, device),
    )


def _thumbnail_cells(blocks: Sequence[Block], device: torch.device) -> Tensor | None:
    cells = [b.thumbnail_cell if b.kind == "tile" else b.cell for b in blocks]
    known = [cell for cell in cells if cell is not None]
    return _pad(known, device) if len(known) == len(cells) else None


def _ordinals(offsets: Sequence[int], counts: Sequence[int]) -> Tensor:
    """Number of each token among its sample's; padding repeats the row's last token."""
    column = torch.arange(max(counts))
    last = torch.tensor(counts)[:, None] - 1
    return torch.tensor(offsets)[:, None] + torch.minimum(column, last)


def _pad(items: list[Tensor], device: torch.device) -> Tensor:
    return nn.utils.rnn.pad_sequence(items, batch_first=True).to(device)


def is_visual(inputs: Mapping[str, Any], image_token_id: int) -> Tensor:
    """Image tokens among a model's inputs, bool `[B, S]`: by id, or by the given types."""
    if (input_ids := inputs.get("input_ids")) is not None:
        return cast(Tensor, input_ids == image_token_id)
    return cast(Tensor, inputs["mm_token_type_ids"] > 0)


def square_blocks(inputs: Mapping[str, Any], image_token_id: int, side: int) -> list[Block]:
    """Images that are squares of `side` x `side` tokens in a row.

    Raises:
        ValueError: the image tokens are not that many in a row.
    """
    where = is_visual(inputs, image_token_id).nonzero().tolist()
    n = side * side
    if len(where) % n:
        raise ValueError(
            f"input_ids hold {len(where)} image tokens, which is no multiple of the {n} of one "
            "image: pass input_ids as the processor returns them"
        )
    blocks: list[Block] = []
    for (sample, start), last in zip(where[::n], where[n - 1 :: n], strict=True):
        if last != [sample, start + n - 1]:
            raise ValueError(
                f"image tokens of sample {sample} from {start} on are not {n} in a row: "
                "pass input_ids as the processor returns them"
            )
        image = blocks[-1].image + 1 if blocks and blocks[-1].sample == sample else 0
        blocks.append(Block.full(sample, image, "image", (side, side), start))
    return blocks
