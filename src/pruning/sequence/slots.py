"""What a prefill knows of each slot of its sequence, kept in step as tokens leave and join."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...tokens.signals import TextSpan
from ...tokens.visual import VisualTokens
from .packing import Insertion, Repack


@dataclass(frozen=True, eq=False)
class TextTokens:
    """The text tokens of the current sequence.

    Attributes:
        masks: those of each span, bool `[B, S]`.
        counts: their number in each sample, as Python ints.
    """

    masks: Mapping[TextSpan, Tensor]
    counts: Mapping[TextSpan, list[int]]

    @classmethod
    def of(cls, masks: Mapping[TextSpan, Tensor]) -> TextTokens:
        """Counts the tokens, with one device sync."""
        n_tokens = torch.stack([mask.sum(dim=1) for mask in masks.values()]).tolist()
        return cls(masks, dict(zip(masks, n_tokens, strict=True)))

    @classmethod
    def behind(cls, text: Tensor, last_visual: Sequence[int], skip: int) -> TextTokens:
        """The text of an input, from what is text and where the images end.

        Args:
            text: all text tokens, bool `[B, S]`.
            last_visual: position of each sample's last visual token; -1 for none.
            skip: closing tokens directly behind it, which ask nothing; see `Family.text_skip`.
        """
        place = torch.arange(text.shape[1], device=text.device)
        last = torch.tensor(last_visual).to(text.device, non_blocking=True)[:, None]
        after = (place > last + skip) | (last < 0)
        return cls.of(
            {
                "all": text,
                "following_image": text & (place > last),
                "after_image": text & after,
            }
        )

    @property
    def all(self) -> Tensor:
        """Every text token, bool `[B, S]`."""
        return self.masks["all"]

    def each(self, change: Callable[[Tensor], Tensor]) -> TextTokens:
        """The same change of every mask; no text may leave or join."""
        return replace(self, masks={span: change(mask) for span, mask in self.masks.items()})

    def slots(self, span: TextSpan) -> tuple[Tensor, Tensor]:
        """See `tokens.Signals.text_slots`."""
        mask, counts, whole = self.masks[span], self.counts[span], self.counts["all"]
        if not all(counts):
            empty = torch.tensor([not n for n in counts]).to(mask.device, non_blocking=True)
            mask = torch.where(empty[:, None], self.all, mask)
            counts = [n or total for n, total in zip(counts, whole, strict=True)]
        width = max(counts, default=0)
        slots = (~mask).to(torch.uint8).argsort(dim=1, stable=True)[:, :width]
        return slots, mask.gather(1, slots)


@dataclass(frozen=True, eq=False)
class PackedSequence:
    """The current sequence of a prefill: B samples in S slots, padded on the left.

    Attributes:
        text: where the text is.
        valid: real tokens, bool `[B, S]`, or None for all.
        positions: position ids on the first rotary axis, long `[B, S]`.
        origin: slot of the input that each slot has its position from, long `[B, S]`; None before
            anything was pruned.
        additions: what is still to be added to the output of a layer, `[B, S, E]`, by layer.
        joined: tokens that a stage added, bool `[B, S]`, by its layer.
    """

    text: TextTokens
    valid: Tensor | None
    positions: Tensor
    origin: Tensor | None
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
            origin=None if self.origin is None else self.origin.to(device),
            additions={layer: x.to(device) for layer, x in self.additions.items()},
            joined={layer: x.to(device) for layer, x in self.joined.items()},
        )

    def packed(self, repack: Repack) -> PackedSequence:
        """What a stage leaves of it."""
        return PackedSequence(
            text=self.text.each(repack.take_mask),
            valid=repack.valid,
            positions=repack.take(self.positions),
            origin=repack.order if self.origin is None else repack.take(self.origin),
            additions={layer: repack.take(x) for layer, x in self.additions.items()},
            joined={layer: repack.take_mask(x) for layer, x in self.joined.items()},
        )

    def joined_by(
        self, insertion: Insertion, layer: int, before: PackedSequence, slot: Tensor
    ) -> PackedSequence:
        """With new tokens, each in the place of a token that was there before the stage.

        Args:
            insertion: where they go.
            layer: of the stage.
            before: the sequence before the stage.
            slot: slot of that token in `before`, long `[R, C]`.
        """
        assert self.origin is not None
        batch = len(self.positions)
        origin = before.origin
        if origin is None:
            origin = torch.arange(before.length, device=slot.device)[None]

        def join(packed: Tensor, old: Tensor) -> Tensor:
            whole = old.expand(batch, *old.shape[1:])
            return insertion.join(packed, whole[insertion.sample[:, None], slot])

        new = insertion.join(torch.zeros_like(self.text.all), torch.ones_like(insertion.valid))
        joined = {i: insertion.join_nothing(x) for i, x in self.joined.items()}
        return PackedSequence(
            text=self.text.each(insertion.join_nothing),
            valid=insertion.repack.valid,
            positions=join(self.positions, before.positions),
            origin=join(self.origin, origin),
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

    def contiguous(self, earlier: Tensor | None) -> Tensor:
        """Contiguous position ids from the first real token on, long `[B, S]`.

        Args:
            earlier: how far an earlier turn has moved positions down, long `[B]`, or None.
        """
        real = torch.ones_like(self.positions) if self.valid is None else self.valid.long()
        far = torch.iinfo(self.positions.dtype).max
        first = self.positions.masked_fill(real == 0, far).amin(dim=1, keepdim=True)
        if earlier is not None:
            first = first - earlier[:, None]
        return first + (real.cumsum(dim=1) - 1).clamp(min=0)


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
