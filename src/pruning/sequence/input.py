"""What the decoder receives for a prefill, and what is counted of it once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache

from ...models.blocks import Block, visual_tokens
from ...models.rotary import Rotary
from ...tokens.visual import VisualTokens
from ..annotation import Boxes, annotated_tokens
from ..vision import VisionRecord
from .slots import PackedSequence, TextTokens, in_sequence


@dataclass(frozen=True)
class PrefillInput:
    """What the decoder receives for a prefill of S new tokens.

    Attributes:
        blocks: visual blocks, in input order; empty for text alone.
        embeddings: `[B, S, E]`.
        positions: position ids on each rotary axis, `[A, B, S]`.
        attention_mask: padding mask `[B, past + S]`, or None without padding.
        cache: written by the decoder; may hold earlier turns.
        seeds: one integer per batch element, or none.
        rotary: the rotary embedding of new position ids, see `Family.rotary`.
        norm: the norm that ends the language model, see `Family.final_norm`.
        boxes: annotated boxes of each batch element, or None.
        vision: gives what the vision tower did for the visual tokens, if a stage asks for it.
        additions: what is added to the output of a layer, `[B, S, E]`, by layer.
    """

    blocks: Sequence[Block]
    embeddings: Tensor
    positions: Tensor
    attention_mask: Tensor | None
    cache: Cache
    seeds: Sequence[int]
    rotary: Callable[[Tensor, Tensor], Rotary]
    norm: Callable[[Tensor], Tensor]
    boxes: Sequence[Boxes] | None = None
    vision: Callable[[VisualTokens], VisionRecord | None] | None = None
    additions: Mapping[int, Tensor] = field(default_factory=dict)


def input_tokens(given: PrefillInput, frequencies: tuple[Tensor, Tensor]) -> VisualTokens:
    """The visual tokens of the input; `frequencies` and the rotary axis of each, `[d / 2]`."""
    inv_freq, axis = frequencies
    tokens = visual_tokens(given.blocks, given.positions, inv_freq, given.seeds, axis)
    if given.boxes is None:
        return tokens
    covered = annotated_tokens(given.blocks, given.boxes)
    padded = nn.utils.rnn.pad_sequence(covered, batch_first=True)
    return replace(tokens, annotated=padded.to(tokens.device))


def padding_mask(mask: Any, required: bool) -> Tensor | None:
    """A 2-D padding mask as bool; other masks are an error only where something is pruned."""
    if isinstance(mask, Tensor) and mask.dim() == 2:
        return mask.bool()
    if mask is not None and required:
        kind = f"{mask.dim()}-D tensor" if isinstance(mask, Tensor) else type(mask).__name__
        raise ValueError(
            f"attention_mask is a {kind}: pruning needs the 2-D padding mask [batch, length] that "
            "processors return, since it builds the masks of pruned layers itself"
        )
    return None


@dataclass(frozen=True, eq=False)
class InputSequence:
    """The input as a sequence, and its numbers of tokens: counted once, as Python ints per sample.

    Attributes:
        tokens: its visual tokens, or None for text alone.
        is_full: no sample has padding.
    """

    tokens: VisualTokens | None
    sequence: PackedSequence
    n_visual: list[int]
    n_text: list[int]
    is_full: bool

    def per_sample(self, counts: Sequence[int]) -> list[int]:
        """Visual tokens of each sample, with so many in each row."""
        assert self.tokens is not None
        total = [0] * len(self.n_visual)
        for row, count in zip(self.tokens.rows, counts, strict=True):
            total[row.sample] += count
        return total

    def n_real(self, counts: Sequence[int]) -> list[int]:
        """Real tokens of each sample, with so many visual ones in each row."""
        of_samples = zip(self.n_text, self.per_sample(counts), strict=True)
        return [text + visual for text, visual in of_samples]


def input_sequence(
    given: PrefillInput, tokens: VisualTokens | None, seen: Tensor | None, text_skip: int
) -> InputSequence:
    """Counts text and visual tokens, with one device sync.

    Args:
        tokens: the visual tokens of the input, if any.
        seen: real tokens of all that the model was ever given, bool `[B, P + S]`, or None for all.
        text_skip: see `Family.text_skip`.
    """
    batch, length = given.embeddings.shape[:2]
    device = given.embeddings.device
    valid = None if seen is None else seen[:, -length:]
    n_visual = [0] * batch
    last_visual = [-1] * batch
    for block in given.blocks:
        n_visual[block.sample] += len(block.cell)
        end = block.start + len(block.cell) - 1
        last_visual[block.sample] = max(last_visual[block.sample], end)
    text = torch.ones(batch, length, dtype=torch.bool, device=device)
    if valid is not None:
        text = valid.clone()
    if tokens is not None:
        text &= ~in_sequence(tokens, tokens.valid, text)
    spans = TextTokens.behind(text, last_visual, text_skip)
    n_text = spans.counts["all"]
    is_full = all(t + v == length for t, v in zip(n_text, n_visual, strict=True))
    sequence = PackedSequence(
        text=spans,
        valid=None if is_full else valid,
        positions=given.positions[0],
        origin=None,
        additions=given.additions,
        joined={},
    )
    return InputSequence(tokens, sequence, n_visual, n_text, is_full)
