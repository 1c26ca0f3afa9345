"""What was decided in other rows, brought back to the rows that they were made of."""

from __future__ import annotations

import torch
from torch import Tensor

from ..tokens.visual import VisualTokens
from .selection import AddedTokens, Selection


def selection_to_parent(tokens: VisualTokens, groups: VisualTokens, chosen: Selection) -> Selection:
    """A decision about `groups = tokens.regroup(...)` as one about `tokens`.

    An added token joins the row that its origin is in.
    """
    if groups is tokens:
        return chosen
    merged, added = chosen.merged, chosen.added
    return Selection(
        groups.to_parent(chosen.keep),
        None if merged is None else _states_to_parent(tokens, groups, merged),
        None if added is None else _added_to_parent(groups, added),
    )


def _states_to_parent(tokens: VisualTokens, groups: VisualTokens, states: Tensor) -> Tensor:
    """States of the groups' tokens in the parent's rows; those in no group keep their own."""
    assert groups.source is not None
    own = tokens.hidden()
    # one more at the end, which the padding of the groups is written to
    flat = torch.cat([own.flatten(0, 1), own.new_zeros(1, own.shape[2])])
    flat[groups.source.reshape(-1)] = states.flatten(0, 1).to(flat)
    return flat[:-1].view_as(own)


def _added_to_parent(groups: VisualTokens, added: AddedTokens) -> AddedTokens:
    assert groups.source is not None
    assert groups.parent_shape is not None
    n_rows, width = groups.parent_shape
    origin = groups.source.gather(1, added.origin).reshape(-1)
    row = torch.where(added.valid.reshape(-1), origin // width, n_rows)
    order = row.argsort(stable=True)
    counts = torch.bincount(row, minlength=n_rows + 1)[:n_rows]
    column = torch.arange(int(counts.max()), device=row.device)
    start = counts.cumsum(dim=0) - counts
    taken = order[(start[:, None] + column).clamp(max=len(order) - 1)]
    valid = column < counts[:, None]
    return AddedTokens(
        states=added.states.flatten(0, 1)[taken],
        origin=(origin[taken] % width).masked_fill(~valid, 0),
        valid=valid,
    )
