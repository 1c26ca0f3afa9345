"""What a decoder is given, or a block is told, in one form for each sequence."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..models.base import Family
from ..models.blocks import Block
from .annotation import Boxes, check_boxes

T = TypeVar("T")


@dataclass(frozen=True)
class Told:
    """What a block was told of the samples, or sequences, of a prefill.

    Attributes:
        seeds: an integer each, which random choices follow; empty where they have no names.
        boxes: the annotated boxes of each, or None.
    """

    seeds: Sequence[int] = ()
    boxes: Sequence[Boxes] | None = None

    def named(self, sample_ids: Sequence[str]) -> Told:
        """The same of samples with these names."""
        digests = [hashlib.sha256(name.encode()).digest()[:7] for name in sample_ids]
        return replace(self, seeds=tuple(int.from_bytes(digest, "little") for digest in digests))

    def annotated(self, boxes: Sequence[Boxes]) -> Told:
        """The same with these boxes; raises ValueError where one is no box of fractions."""
        check_boxes(boxes)
        return replace(self, boxes=boxes)

    def of_sequences(self, embeddings: Tensor) -> Told:
        """The same for each sequence of a decoder's input, `[B, S, E]`; see `of_sequences`."""
        boxes = None if self.boxes is None else of_sequences(self.boxes, embeddings)
        return Told(of_sequences(self.seeds, embeddings), boxes)


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


def given_embeddings(arguments: Mapping[str, Any]) -> Tensor:
    """The embeddings that a decoder is given, `[B, S, E]`; raises ValueError without any."""
    embeddings: Tensor | None = arguments.get("inputs_embeds")
    if embeddings is None:
        raise ValueError(
            "the decoder was called alone, so nothing tells which tokens are visual: inside a "
            "prune block call the whole model"
        )
    return embeddings


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


def visual_blocks(
    family: Family, core: nn.Module, inputs: dict[str, Any], positions: Tensor, *, required: bool
) -> list[Block]:
    """The visual blocks of what a model is given; none where nothing tells, unless it is required.

    Args:
        core: the module that `Family.core` returns.
        inputs: its keyword arguments.
        positions: position ids on each rotary axis, `[A, B, S]`.

    Raises:
        ValueError: nothing tells, and it is required.
    """
    if inputs.get("input_ids") is not None or inputs.get("mm_token_type_ids") is not None:
        return list(family.blocks(core, inputs, positions))
    if required:
        raise ValueError(
            "inputs_embeds came without anything that tells which tokens are visual: to "
            "generate, pass input_ids beside inputs_embeds; to the model itself, pass "
            "mm_token_type_ids [batch, length]"
        )
    return []
