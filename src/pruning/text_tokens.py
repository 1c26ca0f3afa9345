"""Where the text of a prefill is, and which of it follows the image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..tokens.visual import TextSpan


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
