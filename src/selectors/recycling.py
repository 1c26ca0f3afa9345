"""Recycling: the best of what is dropped comes back as a few averaged tokens."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

import torch

from ..tokens.signals import Signal
from ..tokens.visual import VisualTokens
from .base import Ranked, Selector, columns_of, mask_of, top
from .clustering import density_peaks
from .combinators import Around
from .selection import AddedTokens, Selection


@dataclass(frozen=True)
class Recycle(Around):
    """`selector`, and of what it drops the best tokens return as averages of clusters.

    Formula: of D dropped tokens, the best T = int(recycled * D) + 1 by `ranking` are grouped into
    C = int(clusters * T) + 1 clusters (`density_peaks` on the inputs of the stage's layer), and the
    mean of each cluster is added behind the kept tokens, densest cluster first.

    Cost: T x T distances of E dimensions, T about 0.3 D. Source: SparseVLM (arXiv 2410.04417);
    exact against its code (Gumpest/SparseVLMs, 26a5f48), but that random noise breaks ties of
    density there (two tokens that are each other's nearest always tie), here the lower index. The
    paper's Tab. 12 compares with and without. Inferred: an added token takes position ids and grid
    cell of its cluster's centre (only `positions: keep` uses them; the authors' code numbers all
    tokens anew). Newlines, separators and letterbox padding are not recycled.

    Attributes:
        selector: what is kept; it must be a mask, so this combinator stands outermost (in `Per`).
        ranking: which of the dropped tokens are worth it; its budget plays no part.
        merge: False leaves out the recycling, and `selector` alone decides.
        recycled: share of the dropped tokens that are clustered.
        clusters: clusters for each of these.
    """

    selector: Selector
    ranking: Ranked
    _: KW_ONLY
    merge: bool = True
    recycled: float = 0.3
    clusters: float = 0.1

    needs = frozenset({Signal.HIDDEN})

    def __post_init__(self) -> None:
        if not isinstance(self.ranking, Ranked):
            name = type(self.ranking).__name__
            raise TypeError(f"Recycle.ranking is {name}: it must be a ranking")
        for name in ("recycled", "clusters"):
            value = getattr(self, name)
            if not 0.0 <= value < 1.0:
                raise ValueError(f"Recycle.{name} is {value}: it must be a share in [0, 1)")

    def select(self, tokens: VisualTokens) -> Selection:
        keep = (mask_of(self.selector, tokens) | tokens.special) & tokens.valid
        return Selection(keep, added=self._added(tokens, keep) if self.merge else None)

    def _added(self, tokens: VisualTokens, keep: torch.Tensor) -> AddedTokens | None:
        dropped = tokens.eligible & tokens.valid & ~keep
        taken = [int(self.recycled * n) + 1 if n else 0 for n in dropped.sum(dim=1).tolist()]
        if not any(taken):
            return None
        best = top(self.ranking.score(tokens), dropped, taken)
        columns = columns_of(best, max(taken))
        rows = torch.arange(len(columns), device=columns.device)[:, None]
        states = tokens.hidden()[rows, columns]
        n_clusters = [int(self.clusters * n) + 1 if n else 0 for n in taken]
        found = density_peaks(states, best.gather(1, columns), n_clusters)
        origin = columns.gather(1, found.centres)
        return AddedTokens(found.means(states), origin.masked_fill(~found.valid, 0), found.valid)
