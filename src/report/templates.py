"""Pages from the templates of this package; one may extend another."""

from __future__ import annotations

from importlib import resources
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined


def rendered(name: str, **values: Any) -> str:
    """The page of a template.

    Args:
        name: of its file, relative to this folder.
        values: what the template asks for; text is escaped.
    """
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        loader=FunctionLoader(_source),
    )
    return environment.get_template(name).render(**values)


def _source(name: str) -> str:
    return resources.files(__package__).joinpath(*name.split("/")).read_text("utf-8")
