"""Visual tokens without a model: images of given grids between text, with recorded signals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from ..models.base import Block, visual_tokens
from ..signals import TextTokens
from ..tokens import AttentionLayer, Signal, TextSpan, VisualTokens

TEXT_SKIP = 2
"""Tokens directly after the last image that are no text query, as in Qwen2.5-VL."""


@dataclass(frozen=True, eq=False)
class RecordedSignals:
    """Signals from tensors instead of a running model (see `tokens.Signals`).

    Attributes:
        values: value vectors `[B, H_kv, S, D]`.
        text: where the text is.
        valid: real tokens of the sequence, bool `[B, S]`.
        previous, next: attention rows of the last layer that ran and of the one about to run,
            float32 `[B, 1, S]`; None where the recording has none.
    """

    values: Tensor
    text: TextTokens
    valid: Tensor
    previous: Tensor | None = None
    next: Tensor | None = None

    def sequence_values(self) -> tuple[Tensor, Tensor]:
        return self.values, self.valid

    def text_slots(self, span: TextSpan) -> tuple[Tensor, Tensor]:
        return self.text.slots(span)

    def attention(self, layer: AttentionLayer) -> Tensor:
        rows = self.previous if layer == "previous" else self.next
        if rows is None:
            raise ValueError(f"the recording holds no attention of the {layer} layer")
        return rows


@dataclass(frozen=True, eq=False)
class RecordedSample:
    """One sample of S tokens: text, images, text. Its signals follow from `seed` alone.

    Attributes:
        grids: (rows, columns) of each image's token grid.
        before, after: number of text tokens before the first and after the last image.
        seed: of the random signals; it also names the sample for random selectors.
        values: value vectors `[H, S, D]`; random, of 2 heads with 4 dimensions, where not given.
    """

    grids: tuple[tuple[int, int], ...]
    before: int = 3
    after: int = 6
    seed: int = 0
    values: Tensor | None = field(default=None, repr=False)

    @property
    def length(self) -> int:
        """S."""
        return self.before + sum(height * width for height, width in self.grids) + self.after

    def value_vectors(self) -> Tensor:
        """`[H, S, D]`."""
        if self.values is not None:
            return self.values
        generator = torch.Generator().manual_seed(2 * self.seed)
        return torch.randn(2, self.length, 4, generator=generator)

    def attention(self) -> Tensor:
        """Rows of the previous and of the next layer, float32 `[2, S]`."""
        generator = torch.Generator().manual_seed(2 * self.seed + 1)
        return torch.randn(2, self.length, generator=generator).softmax(dim=-1)

    def positions(self) -> Tensor:
        """M-RoPE position ids (t, h, w), long `[3, S]`."""
        pieces, now = [torch.arange(self.before).expand(3, -1)], self.before
        for height, width in self.grids:
            rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
            pieces.append(torch.stack([torch.zeros_like(rows), rows, columns]).view(3, -1) + now)
            now += max(height, width)
        pieces.append(torch.arange(now, now + self.after).expand(3, -1))
        return torch.cat(pieces, dim=1)

    def text(self) -> Tensor:
        """All text tokens, and those after the images that may ask, bool `[2, S]`."""
        place = torch.arange(self.length)
        end = self.length - self.after
        return torch.stack([(place < self.before) | (place >= end), place >= end + TEXT_SKIP])

    def blocks(self, number: int, padding: int) -> list[Block]:
        """Its images as batch element `number`, behind `padding` tokens of padding."""
        start, blocks = padding + self.before, []
        for image, (height, width) in enumerate(self.grids):
            blocks.append(Block.full(number, image, "image", (height, width), start))
            start += height * width
        return blocks


def recorded_tokens(
    samples: Sequence[RecordedSample],
    *,
    padding: int = 0,
    interleaved: bool = False,
    theta: float = 1e4,
) -> VisualTokens:
    """The visual tokens of a left-padded batch, one row per image, with every signal declared.

    Args:
        samples: in the order of the batch.
        padding: tokens of padding that even the longest sample gets; the value vectors and the
            position ids there mean nothing.
        interleaved: rows of different samples alternate, instead of sample after sample.
        theta: base of the 4 rotary frequencies.
    """
    length = padding + max(sample.length for sample in samples)
    numbered = list(enumerate(samples))
    blocks = [block for i, s in numbered for block in s.blocks(i, length - s.length)]
    if interleaved:
        blocks.sort(key=lambda block: (block.image, -block.sample))
    positions = _left_padded([s.positions() for s in samples], length, 1).transpose(0, 1)
    inv_freq = theta ** -(torch.arange(0, 8, 2) / 8)
    tokens = visual_tokens(blocks, positions, inv_freq, [s.seed for s in samples])
    return tokens.with_signals(_signals(samples, length), frozenset(Signal))


def _signals(samples: Sequence[RecordedSample], length: int) -> RecordedSignals:
    values = [s.value_vectors().transpose(1, 2) for s in samples]
    text, after = _left_padded([s.text() for s in samples], length).unbind(1)
    previous, following = _left_padded([s.attention() for s in samples], length).split(1, dim=1)
    return RecordedSignals(
        values=_left_padded(values, length, 100).transpose(2, 3),
        text=TextTokens(text, after, text.sum(dim=1).tolist(), after.sum(dim=1).tolist()),
        valid=_left_padded([torch.ones(s.length, dtype=torch.bool) for s in samples], length),
        previous=previous,
        next=following,
    )


def _left_padded(pieces: Sequence[Tensor], length: int, filling: int = 0) -> Tensor:
    """Pieces `[..., S]` of several lengths S as one tensor `[B, ..., length]`."""
    return torch.stack(
        [nn.functional.pad(p, (length - p.shape[-1], 0), value=filling) for p in pieces]
    )


def widened(tokens: VisualTokens, extra: int, seed: int = 0) -> VisualTokens:
    """The same tokens in `extra` more columns; all padding holds data of other tokens."""
    rows, columns = tokens.shape
    generator = torch.Generator().manual_seed(seed)
    anywhere = torch.randint(rows * columns, (rows, columns + extra), generator=generator)
    place = nn.functional.pad(torch.arange(rows * columns).view(rows, columns), (0, extra))
    valid = nn.functional.pad(tokens.valid, (0, extra))
    return replace(tokens._take_flat(torch.where(valid, place, anywhere)), _memo={})


def thinned(tokens: VisualTokens, dropped: Tensor) -> VisualTokens:
    """What an earlier stage leaves that dropped some tokens, bool `[R, N]`; signals stay."""
    assert tokens.signals is not None
    keep = tokens.valid & ~dropped
    left = tokens.survivors(keep, keep.sum(dim=1).tolist(), tokens.slot)
    return left.with_signals(tokens.signals, tokens.needs)
