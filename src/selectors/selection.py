"""What a selector decides where keeping tokens is not all: merged states and added tokens."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..tokens.visual import VisualTokens

if TYPE_CHECKING:
    from ..policy import BoundStage  # which imports the selectors, and they this module


@dataclass(frozen=True, eq=False)
class AddedTokens:
    """New tokens, placed behind the kept tokens of their row.

    Attributes:
        states: hidden states at the input of the stage's layer, `[R, C, E]`.
        origin: column of the token of its row whose position ids and grid cell each takes, long
            `[R, C]`.
        valid: real ones, bool `[R, C]`; the rest is padding.
    """

    states: Tensor
    origin: Tensor
    valid: Tensor


@dataclass(frozen=True, eq=False)
class Selection:
    """The tokens that stay, and what becomes of the others.

    Attributes:
        keep: bool `[R, N]`.
        merged: hidden states at the input of the stage's layer, `[R, N, E]`, that take the place of
            the kept tokens' own from this layer on; caches of earlier layers stay as they are.
        added: tokens that join from this layer on; caches of earlier layers do not have them.
    """

    keep: Tensor
    merged: Tensor | None = None
    added: AddedTokens | None = None


def checked_selection(
    stage: BoundStage, result: Tensor | Selection, tokens: VisualTokens
) -> Selection:
    """What a stage's selector decides, with the special tokens and without padding.

    Raises:
        ValueError: shapes or types are not those that a selector has to return.
    """
    name = f"stages.{stage.name}: {type(stage.selector).__name__}.select returned"
    selection = Selection(result) if isinstance(result, Tensor) else result
    if not isinstance(selection, Selection):
        raise ValueError(f"{name} {type(result)}, but a bool tensor or a Selection is expected")
    keep, merged, added = selection.keep, selection.merged, selection.added
    if keep.dtype != torch.bool or keep.shape != tokens.shape:
        raise ValueError(
            f"{name} {keep.dtype} {tuple(keep.shape)}, but a bool tensor of shape {tokens.shape} "
            "is expected"
        )
    if merged is not None and merged.shape[:2] != tokens.shape:
        raise ValueError(
            f"{name} merged states of shape {tuple(merged.shape)}: ({tokens.shape[0]}, "
            f"{tokens.shape[1]}, hidden size) is expected"
        )
    if added is not None:
        shapes = [tuple(x.shape[:2]) for x in (added.states, added.origin, added.valid)]
        if len(set(shapes)) != 1 or shapes[0][0] != tokens.shape[0]:
            raise ValueError(
                f"{name} added tokens of shapes {shapes}: states, origin and valid must agree on "
                f"({tokens.shape[0]}, C)"
            )
    return replace(selection, keep=(keep | tokens.special) & tokens.valid)
