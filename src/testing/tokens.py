"""Visual tokens without a model: images of given grids between text, with recorded signals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from ..models.blocks import Block, visual_tokens
from ..pruning.live_signals import InputSignals
from ..pruning.sequence.slots import TextTokens
from ..tokens.signals import Signal
from ..tokens.visual import VisualTokens
from .signals import RecordedSignals

TEXT_SKIP = 2
"""Tokens directly after the last image that are no text query, as in Qwen2.5-VL."""


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

    def other_signals(self) -> dict[str, Tensor]:
        """Random ones, each with the S tokens of the sequence, or the M visual ones, last.

        See `RecordedSignals` for their other axes.
        """
        generator = torch.Generator().manual_seed(2 * self.seed + 1)
        n_visual = self.length - self.before - self.after
        shapes = {
            "queries": (2, 2, 4, 4, self.length),
            "keys": (2, 2, 2, 4, self.length),
            "states": (6, self.length),
            "embeddings": (6, self.length),
            "tower": (5, n_visual),
            "tower_attention": (2, 2, n_visual),
            "coming": (2, 4, self.length),
            "tower_keys": (2, 2, 2, 4, n_visual),
        }
        return {n: torch.randn(*shape, generator=generator) for n, shape in shapes.items()}

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
        """All text tokens, bool `[S]`."""
        place = torch.arange(self.length)
        return (place < self.before) | (place >= self.length - self.after)

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
    tokens = replace(tokens, annotated=_annotated(tokens))
    signals = _signals(samples, tokens, positions, length)
    return tokens.with_signals(signals, frozenset(Signal))


def _annotated(tokens: VisualTokens) -> Tensor:
    """A box around the upper left quarter of each sample's first image."""
    in_box = (2 * tokens.cell < tokens.grid_size).all(dim=-1)
    return in_box & tokens.valid & (tokens.image == 0)[:, None]


def _signals(
    samples: Sequence[RecordedSample], tokens: VisualTokens, positions: Tensor, length: int
) -> RecordedSignals:
    values = [s.value_vectors().transpose(1, 2) for s in samples]
    is_text = _left_padded([s.text() for s in samples], length)
    text = TextTokens.behind(is_text, [length - s.after - 1 for s in samples], TEXT_SKIP)
    others = [sample.other_signals() for sample in samples]

    def sequence(name: str) -> Tensor:
        pieces = [signals[name] for signals in others]
        return _left_padded(pieces, length, 100).transpose(-1, -2)

    def visual(name: str) -> Tensor:
        # padding has numbers too, beyond those of its sample's tokens
        width = int(tokens.ordinal.max()) + 1
        pieces = [signals[name] for signals in others]
        return torch.stack(
            [nn.functional.pad(x, (0, width - x.shape[-1]), value=100) for x in pieces]
        )

    return RecordedSignals(
        values=_left_padded(values, length, 100).transpose(2, 3),
        text=text,
        valid=_left_padded([torch.ones(s.length, dtype=torch.bool) for s in samples], length),
        coming=sequence("coming"),
        queries=sequence("queries"),
        keys=sequence("keys"),
        states=sequence("states"),
        input=InputSignals(sequence("embeddings"), text, tokens, None, positions, _unit_norm),
        tower=visual("tower").transpose(1, 2),
        tower_attention=visual("tower_attention"),
        tower_keys=visual("tower_keys").transpose(-1, -2),
    )


def _unit_norm(states: Tensor) -> Tensor:
    """A root mean square norm with weights of 1."""
    return nn.functional.rms_norm(states, states.shape[-1:])


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
    return replace(tokens.take_flat(torch.where(valid, place, anywhere)), _memo={})


def thinned(tokens: VisualTokens, dropped: Tensor) -> VisualTokens:
    """What an earlier stage leaves that dropped some tokens, bool `[R, N]`; signals stay."""
    assert tokens.signals is not None
    keep = tokens.valid & ~dropped
    left = tokens.survivors(keep, keep.sum(dim=1).tolist(), tokens.slot)
    return left.with_signals(tokens.signals, tokens.needs)
