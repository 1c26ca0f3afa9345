"""A budget that follows density: pictures and questions that need more tokens get more."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import NamedTuple

from torch import Tensor

from ..tokens.visual import VisualTokens
from .adaptive import VaryingTopUp
from .base import Selector
from .measures import Measure

_HALVINGS = 60


@dataclass(frozen=True)
class DensityTopUp(VaryingTopUp):
    """All of `first`, then the best of `then`, more of them in a row that is denser.

    Formula: low + (high - low) * clip((m - centre) / width + 1/2, 0, 1) of the row's original
    tokens, with m the row's `measure`; all of `first` in any case. A row that the measure says
    nothing of (NaN: no text, a single token) counts as one at the centre. `ramp_for` finds centre
    and width for a wanted average, from measures alone: no label is needed.

    Cost: that of the measure; no device sync. Source: ours, after the paper's outlook (arXiv
    2602.03060: dense text needs more tokens).

    Attributes:
        first: what is kept in any case; it counts.
        then: the ranking that fills the rest; its own budget plays no part.
        measure: how dense a row is.
        centre: the measure at which the middle of `low` and `high` is kept.
        width: the range of the measure over which the budget grows from `low` to `high`.
        low, high: bounds, see `Budget.keep`.
    """

    _: KW_ONLY
    measure: Measure
    centre: float
    width: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.measure, Measure):
            kind = type(self.measure).__name__
            raise TypeError(f"DensityTopUp.measure is {kind}: it must be a Measure")
        if not (self.width > 0 and math.isfinite(self.width)):
            raise ValueError(f"DensityTopUp.width is {self.width}: it must be a number above 0")
        if not math.isfinite(self.centre):
            raise ValueError(f"DensityTopUp.centre is {self.centre}: it must be finite")

    def wanted(self, tokens: VisualTokens, low: Tensor, high: Tensor) -> Tensor:
        steepness = ramp(self.measure.of(tokens), self.centre, self.width)
        return (low + (high - low) * steepness).round().long()

    def with_keep(self, keep: float) -> Selector:
        raise ValueError(
            f"DensityTopUp keeps as many tokens as a picture needs, not a share of {keep}: move "
            "`centre`, or use TopUp"
        )


def ramp(measure: Tensor, centre: float, width: float) -> Tensor:
    """clip((m - centre) / width + 1/2, 0, 1), float64 as `measure` is shaped; NaN counts as 1/2."""
    return ((measure.double() - centre) / width + 0.5).clamp(0.0, 1.0).nan_to_num(0.5)


class Ramp(NamedTuple):
    """Where a budget grows, in units of a measure; see `DensityTopUp`."""

    centre: float
    width: float


def ramp_for(measures: Tensor, low: float, high: float, average: float, spread: float = 2) -> Ramp:
    """The ramp whose shares average `average` over a calibration set; no label is used.

    The width is `spread` standard deviations of the measure, and the centre the one free number.

    Args:
        measures: of each picture of the set, `[n]`, finite.
        low, high: shares in (0, 1], the fewest and the most tokens of a picture.
        average: between them.

    Raises:
        ValueError: the average is out of reach, or the measure is the same for all pictures.
    """
    if not low < average < high:
        raise ValueError(
            f"average is {average}: it must lie between low={low} and high={high}, the shares that "
            "a picture can get"
        )
    values = measures.double()
    width = spread * float(values.std(correction=0))
    if not (width > 0 and math.isfinite(width)):
        raise ValueError(
            f"the measures of {values.numel()} pictures have a spread of {width}: a budget can "
            "only follow finite measures that differ"
        )
    less, more = float(values.min()) - width, float(values.max()) + width
    for _ in range(_HALVINGS):
        centre = (less + more) / 2
        if low + (high - low) * float(ramp(values, centre, width).mean()) > average:
            less = centre  # a higher centre leaves fewer tokens
        else:
            more = centre
    return Ramp((less + more) / 2, width)
