"""The paper's tables of an experiment as one HTML page without any other file or request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

from jinja2 import Environment, StrictUndefined

from ..plots import Plot
from . import text
from .layout import PaperTable


@dataclass(frozen=True)
class Section:
    """One table with its plots, and what these show."""

    table: PaperTable
    plots: Sequence[Plot] = ()
    caption: str = ""


@dataclass(frozen=True)
class Picture:
    """A drawing as a data URI; the caption has a line for each of its strings."""

    title: str
    image: str
    caption: tuple[str, ...] = ()


def render_page(
    experiment: str, sections: Sequence[Section], pictures: Sequence[Picture] = ()
) -> str:
    """The page of `experiment`; the order is that of the arguments."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template = resources.files(__package__).joinpath("page.html.jinja").read_text("utf-8")
    return environment.from_string(template).render(
        experiment=experiment, sections=sections, pictures=pictures, text=text
    )
