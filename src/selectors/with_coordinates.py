"""Any method with the implicit visual coordinates: they take a part of its budget."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field, replace

import torch
from torch import Tensor

from ..checks import check_share, setting
from ..tokens.visual import VisualTokens
from .base import Selector, children, decision, top
from .combinators import Around, Per
from .coordinates import IVCSelector
from .selection import Selection

_NEVER = 2**31
"""Place of a token that cannot be a coordinate."""


@dataclass(frozen=True)
class WithCoordinates(Around):
    """`selector` and the implicit visual coordinates, together as many tokens as it keeps alone.

    Formula: the coordinates of each image are those of `IVCSelector`, taken in turn from its
    rankings, V first: the best 10 % of each (`coordinates`), at most the share `most` of what
    `selector` keeps there. They stay as they are and are no candidates any more, and `selector`
    chooses with what is left of its budget. Where that comes to fewer tokens (budgets that are cut
    to integers, sets that overlap), the next coordinates fill up, so that every row keeps exactly
    its number. Where `selector` ranks over less than an image, so do the coordinates.

    Cost: the coordinates' sines and cosines, one wait for the device, and a second run of
    `selector` where its numbers are not known beforehand (`sizes`). Source: ours, after the paper's
    Tab. 4, which unites the sets instead, so that more tokens stay (`fastv_ivc`). At 50 % `most`
    leaves the published 10 % of V and 10 % of U alone.

    Attributes:
        selector: any that has a budget; what it merges or adds stays so, without the coordinates.
        coordinates: k_c, and by which rotations.
        most: share of the kept tokens that coordinates may be.
    """

    selector: Selector
    _: KW_ONLY
    coordinates: IVCSelector = field(default_factory=IVCSelector)
    most: float = 0.5

    def __post_init__(self) -> None:
        check_share(setting(self, "most"), self.most)
        if any(isinstance(part, IVCSelector) for part in _parts(self.selector)):
            raise ValueError(
                f"{_name(self.selector)} decides about the coordinates itself already: leave "
                "ivc=true out"
            )
        if not self.selector.leaves_room:
            raise ValueError(
                f"{_name(self.selector)} has no budget that coordinates could be a part of (a set "
                "of positions, a complement): leave ivc=true out, or unite both (`Union`)"
            )

    def select(self, tokens: VisualTokens) -> Selection | Tensor:
        may = tokens.eligible & tokens.valid & ~tokens.special
        total = self._total(tokens)
        places, chosen = self._coordinates(tokens, may, total)
        found = decision(self.selector, tokens.reserve(chosen))
        keep = found.keep & tokens.valid
        missing = total - (keep & ~tokens.special).sum(dim=1)
        order = (-places.float()).masked_fill(chosen, torch.inf)
        keep = keep | top(order, may & ~keep, missing)
        if found.merged is None and found.added is None:
            return keep
        return replace(found, keep=keep)

    def sizes(self, tokens: VisualTokens) -> list[int] | None:
        return self.selector.sizes(tokens)

    def at_most(self, tokens: VisualTokens) -> list[int] | None:
        return self.selector.at_most(tokens)

    def within(self, keep: float) -> Selector:
        return replace(self, selector=self.selector.within(keep))

    def _total(self, tokens: VisualTokens) -> Tensor:
        """Tokens that `selector` keeps of each row alone, special ones left out, long `[R]`."""
        sizes = self.selector.sizes(tokens)
        if sizes is not None:
            return torch.tensor(sizes, dtype=torch.long).to(tokens.device, non_blocking=True)
        alone = decision(self.selector, tokens).keep
        return (alone & tokens.valid & ~tokens.special).sum(dim=1)

    def _coordinates(
        self, tokens: VisualTokens, may: Tensor, total: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Place of each token among the coordinates of its image, and which of them are reserved.

        Args:
            may: tokens that can be coordinates, bool `[R, N]`.
            total: tokens of each row that will be kept, long `[R]`.

        Returns:
            long `[R, N]`, 0 for the first, and bool `[R, N]`.
        """
        images = tokens.restrict(may).regroup("image")
        if len(images.rows) < len(tokens.rows):  # rows are parts of images
            images = tokens.restrict(may)
        candidates = images.eligible & images.valid
        rankings = self.coordinates.rankings(images)
        n_rankings = len(rankings)
        order = rankings.masked_fill(~candidates, -torch.inf).argsort(
            dim=2, descending=True, stable=True
        )
        turn = torch.arange(n_rankings, device=order.device)[:, None, None]
        places = (order.argsort(dim=2) * n_rankings + turn).amin(dim=0)
        places = places.masked_fill(~candidates, _NEVER)
        each = torch.tensor(self.coordinates.of_each(images, n_rankings), dtype=torch.long)
        limit = (each * n_rankings).to(places.device, non_blocking=True)
        limit = limit.minimum(self._room(images, tokens, candidates, total))
        reserved = places < limit[:, None]
        if images.rows is tokens.rows:
            return places, reserved
        return images.numbers_to_parent(places, _NEVER), images.to_parent(reserved)

    def _room(
        self, images: VisualTokens, tokens: VisualTokens, candidates: Tensor, total: Tensor
    ) -> Tensor:
        """Most coordinates of each image: its part of what its row keeps, long `[R']`."""
        most = (total * self.most).floor().long()
        if images.rows is tokens.rows or images.source is None:
            return most
        row = (images.source[:, :1] // max(tokens.shape[1], 1)).clamp(max=len(total) - 1)[:, 0]
        share = candidates.sum(dim=1)
        whole = torch.zeros_like(total).index_add_(0, row, share)
        return most[row] * share // whole[row].clamp(min=1)


def with_coordinates(selector: Selector) -> Selector:
    """A stage's selector with the coordinates, in the rows that it decides over.

    Raises:
        ValueError: it has coordinates already, or no budget that they could be a part of.
    """
    if isinstance(selector, Per):
        return replace(selector, selector=with_coordinates(selector.selector))
    return WithCoordinates(selector)


def _parts(selector: Selector) -> list[Selector]:
    """A selector and all inside it."""
    return [selector, *(part for child in children(selector) for part in _parts(child))]


def _name(selector: Selector) -> str:
    return type(selector).__name__
