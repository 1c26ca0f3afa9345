"""The sequence of a prefill before anything has left it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..tokens.visual import VisualTokens
from .prefill_input import PrefillInput
from .sequence import PackedSequence, in_sequence
from .text_tokens import TextTokens


@dataclass(frozen=True, eq=False)
class InputSequence:
    """The input as a sequence, and its numbers of tokens, as Python ints per sample.

    Attributes:
        is_full: no sample has padding.
    """

    sequence: PackedSequence
    n_visual: list[int]
    n_text: list[int]
    is_full: bool


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
    return InputSequence(sequence, n_visual, n_text, is_full)
