"""Decisions of a selector image by image, so that those about different tables compare."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..selectors import Selector
from ..selectors.base import decision
from ..selectors.selection import AddedTokens
from ..tokens.visual import VisualTokens


@dataclass(frozen=True, eq=False)
class RowDecision:
    """What becomes of the tokens of one image.

    Attributes:
        kept: numbers of the kept tokens.
        merged: the kept tokens' new states `[K, E]`, or None.
        origins: numbers of the tokens that the added ones come from.
        added: states of the added tokens `[C, E]`, or None.
    """

    kept: list[int]
    merged: Tensor | None
    origins: list[int]
    added: Tensor | None


Decided = dict[tuple[int, int], RowDecision]
"""By (sample, image)."""


def decided(selector: Selector, tokens: VisualTokens) -> Decided:
    """What a selector decides about each image."""
    chosen = decision(selector, tokens)
    keep, merged, added = chosen.keep & tokens.valid, chosen.merged, chosen.added
    return {
        (row.sample, row.image): RowDecision(
            kept=keep[i].nonzero()[:, 0].tolist(),
            merged=None if merged is None else merged[i, keep[i]],
            origins=[] if added is None else added.origin[i, added.valid[i]].tolist(),
            added=None if added is None else added.states[i, added.valid[i]],
        )
        for i, row in enumerate(tokens.rows)
    }


def difference(one: Decided, other: Decided, *, exact: bool = False) -> str:
    """What the first image that differs keeps, merges or adds; "" where none does.

    Args:
        exact: states must be equal bit for bit, not only up to rounding.
    """
    for (sample, image), row in one.items():
        name, again = f"image {image} of sample {sample}", other[sample, image]
        if row.kept != again.kept:
            return f"{name} keeps {row.kept}, then {again.kept}"
        if row.origins != again.origins:
            return f"{name} adds tokens from {row.origins}, then from {again.origins}"
        if not _same(row.merged, again.merged, exact):
            return f"{name} gets other merged states"
        if not _same(row.added, again.added, exact):
            return f"{name} gets other added states"
    return ""


def _same(one: Tensor | None, other: Tensor | None, exact: bool) -> bool:
    if one is None or other is None:
        # a table without any additions may leave them out
        return not any(x is not None and len(x) for x in (one, other))
    if one.shape != other.shape:
        return False
    return torch.equal(one, other) if exact else torch.allclose(one, other, atol=1e-5)


def wrong_states_of(selector: Selector, tokens: VisualTokens) -> str | None:
    """What is wrong with the merged or added states that a selector decides on, or None."""
    chosen = decision(selector, tokens)
    kept = chosen.keep & tokens.valid
    if chosen.merged is not None and (wrong := _wrong_states(chosen.merged, tokens, kept)):
        return f"merged {wrong}"
    if chosen.added is not None and (wrong := _wrong_additions(chosen.added, tokens)):
        return f"added {wrong}"
    return None


def _wrong_states(states: Tensor, tokens: VisualTokens, meant: Tensor) -> str | None:
    assert tokens.signals is not None
    like = tokens.signals.hidden()
    wanted = (*meant.shape, like.shape[-1])
    if tuple(states.shape) != wanted or states.dtype != like.dtype:
        return f"states are {states.dtype} {tuple(states.shape)}: {like.dtype} {wanted} is expected"
    return None if states[meant].isfinite().all() else "states are not finite"


def _wrong_additions(added: AddedTokens, tokens: VisualTokens) -> str | None:
    shape = tuple(added.valid.shape)
    if added.valid.dtype != torch.bool or len(shape) != 2 or shape[0] != tokens.shape[0]:
        return f"valid is {added.valid.dtype} {shape}: bool, one row per row, is expected"
    if tuple(added.origin.shape) != shape or added.origin.dtype != torch.long:
        return f"origin is {added.origin.dtype} {tuple(added.origin.shape)}: long {shape} is due"
    if not ((added.origin >= 0) & (added.origin < tokens.shape[1])).all():
        return f"origin holds columns outside 0 to {tokens.shape[1] - 1}"
    if not (tokens.valid.gather(1, added.origin) | ~added.valid).all():
        return "origin points at padding"
    return _wrong_states(added.states, tokens, added.valid)
