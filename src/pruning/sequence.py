"""What a prefill knows of each slot of its sequence, kept in step as tokens leave and join."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..models.rotary import Rotary, each_pair, each_rotary
from ..tokens.visual import VisualTokens
from .insertion import Insertion
from .repack import Repack
from .text_tokens import TextTokens


@dataclass(frozen=True, eq=False)
class PackedSequence:
    """The current sequence of a prefill: B samples in S slots, padded on the left.

    Attributes:
        text: where the text is.
        valid: real tokens, bool `[B, S]`, or None for all.
        positions: position ids on the first rotary axis, long `[B, S]`.
        rotary: rotary embedding; None for the decoder's own, before anything was pruned.
        additions: what is still to be added to the output of a layer, `[B, S, E]`, by layer.
        joined: tokens that a stage added, bool `[B, S]`, by its layer.
    """

    text: TextTokens
    valid: Tensor | None
    positions: Tensor
    rotary: Rotary | None
    additions: Mapping[int, Tensor]
    joined: Mapping[int, Tensor]

    @property
    def length(self) -> int:
        """S."""
        return self.positions.shape[1]

    def to(self, device: torch.device) -> PackedSequence:
        """The same on another device: that of the layer about to run."""
        if device == self.positions.device:
            return self
        return PackedSequence(
            text=self.text.each(lambda x: x.to(device)),
            valid=None if self.valid is None else self.valid.to(device),
            positions=self.positions.to(device),
            rotary=None
            if self.rotary is None
            else each_rotary(lambda x: x.to(device), self.rotary),
            additions={layer: x.to(device) for layer, x in self.additions.items()},
            joined={layer: x.to(device) for layer, x in self.joined.items()},
        )

    def packed(self, repack: Repack, rotary: Rotary) -> PackedSequence:
        """What a stage leaves of it; `rotary` is the embedding until here."""
        return PackedSequence(
            text=self.text.each(repack.take_mask),
            valid=repack.valid,
            positions=repack.take(self.positions),
            rotary=each_rotary(repack.take, rotary),
            additions={layer: repack.take(x) for layer, x in self.additions.items()},
            joined={layer: repack.take_mask(x) for layer, x in self.joined.items()},
        )

    def joined_by(
        self, insertion: Insertion, layer: int, before: PackedSequence, rotary: Rotary, slot: Tensor
    ) -> PackedSequence:
        """With new tokens, each in the place of a token that was there before the stage.

        Args:
            insertion: where they go.
            layer: of the stage.
            before, rotary: the sequence before the stage, and its rotary embedding.
            slot: slot of that token in `before`, long `[R, C]`.
        """
        assert self.rotary is not None
        batch = len(self.positions)

        def join(packed: Tensor, old: Tensor) -> Tensor:
            whole = old.expand(batch, *old.shape[1:])
            return insertion.join(packed, whole[insertion.sample[:, None], slot])

        new = insertion.join(torch.zeros_like(self.text.all), torch.ones_like(insertion.valid))
        joined = {i: insertion.join_nothing(x) for i, x in self.joined.items()}
        return PackedSequence(
            text=self.text.each(insertion.join_nothing),
            valid=insertion.repack.valid,
            positions=join(self.positions, before.positions),
            rotary=each_pair(join, self.rotary, rotary),
            additions={i: insertion.join_nothing(x) for i, x in self.additions.items()},
            joined=joined | {layer: new},
        )

    def packing_without(self, layers: Sequence[int], keep: Tensor) -> Repack:
        """The packing of `keep`, bool `[B, S]`, in caches that lack what joined at these layers."""
        there = torch.ones_like(keep) if self.valid is None else self.valid
        for layer in layers:
            there = there & ~self.joined[layer]
        n_there, n_kept = torch.stack([there.sum(dim=1), (there & keep).sum(dim=1)]).tolist()
        return Repack.of(Repack.of(there, n_there).take_mask(keep & there), n_kept)


def in_sequence(tokens: VisualTokens, mask: Tensor, like: Tensor) -> Tensor:
    """A mask of visual tokens `[R, N]` as a mask of the sequence, of the shape of `like`."""
    flat = like.new_zeros(like.numel() + 1)
    place = tokens.sample[:, None] * like.shape[1] + tokens.slot
    flat[place.masked_fill(~mask, like.numel())] = True
    return flat[:-1].view(like.shape)


def with_states(hidden: Tensor, tokens: VisualTokens, keep: Tensor, states: Tensor) -> Tensor:
    """Hidden states `[B, S, E]` in which kept tokens have merged ones, `[R, N, E]`."""
    # one row more, for those that are not kept: nothing has to be counted on the device
    flat = torch.cat([hidden.flatten(0, 1), hidden.new_zeros(1, hidden.shape[2])])
    place = tokens.sample[:, None] * hidden.shape[1] + tokens.slot
    flat[place.masked_fill(~keep, len(flat) - 1)] = states.to(hidden)
    return flat[:-1].view_as(hidden)
