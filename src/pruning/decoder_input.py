"""What a decoder is given, or a block is told, in one form for each sequence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


def of_sequences(of_samples: Sequence[T], embeddings: Tensor) -> list[T]:
    """What is known of each sample for each sequence: beams of a sample follow one another.

    Raises:
        ValueError: the number of sequences is no multiple of the number of samples.
    """
    batch = len(embeddings)
    if of_samples and batch % len(of_samples):
        raise ValueError(
            f"identify or annotate spoke of {len(of_samples)} samples, but the batch has {batch} "
            "sequences: give one entry for each sample"
        )
    return [item for item in of_samples for _ in range(batch // len(of_samples))]


def axis_positions(position_ids: Tensor | None, axes: int, embeddings: Tensor, past: int) -> Tensor:
    """Position ids on each rotary axis, long `[A, B, S]`, from what a decoder is given.

    Args:
        position_ids: `[A, B, S]`, `[1 + A, B, S]` with text positions first, `[B, S]`, or None.
        axes: A.
        embeddings: `[B, S, E]`.
        past: tokens seen before.

    Raises:
        ValueError: they are not the positions of S tokens.
    """
    batch, length = embeddings.shape[:2]
    if position_ids is None:
        position_ids = torch.arange(past, past + length, device=embeddings.device)[None]
    if position_ids.dim() == 3:
        position_ids = position_ids[-axes:]
    if position_ids.shape[-1] != length:
        raise ValueError(
            f"position_ids hold {position_ids.shape[-1]} positions for {length} new tokens: pass "
            "those of the new tokens, or leave attention_mask out where nothing is padded (from a "
            "mask of the whole conversation the model makes positions for all of it)"
        )
    return position_ids.expand(axes, batch, length)
