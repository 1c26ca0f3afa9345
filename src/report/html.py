"""The report as one HTML page that needs no other file and no network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from . import formats
from .comparison import Comparison
from .gallery import Exhibit, draw_gallery
from .plots import Plot, draw_plots
from .spread import SPREAD
from .table import notes
from .templates import rendered


@dataclass(frozen=True)
class Section:
    """One comparison with its pictures."""

    comparison: Comparison
    plots: list[Plot]
    gallery: list[Exhibit]
    notes: list[str]


def render_page(
    experiment: str, comparisons: Sequence[Comparison], unfinished: Sequence[str], gallery: int
) -> str:
    """The page of `experiment`.

    Args:
        comparisons: each becomes a section of its own.
        unfinished: keys of runs that are not in the tables.
        gallery: how many samples are shown in pictures, for each comparison.
    """
    sections = [Section(c, draw_plots(c), draw_gallery(c, gallery), notes(c)) for c in comparisons]
    return rendered(
        "report.html.jinja",
        experiment=experiment,
        sections=sections,
        unfinished=unfinished,
        spread=f"{SPREAD / 2:g}",
        formats=formats,
    )
