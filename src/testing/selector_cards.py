"""docs/selectors.md from the docstrings: `python -m ivcprune.testing.selector_cards FILE`."""

from __future__ import annotations

import argparse
import inspect
import re
from dataclasses import MISSING, Field, fields
from importlib.resources import files
from pathlib import Path

from .. import selectors
from ..configuration.hydra_app import CONFIG_MODULE
from ..selectors import Ranked, Selector

HEAD = """\
# Selectors

Generated from the docstrings by `python -m ivcprune.testing.selector_cards docs/selectors.md`; a
test keeps it up to date. How methods compare is in [Methods](methods.md), how they are configured
in [Policies](policies.md).

A budget `keep` is a ratio (float) or a count (int); `of` says what a ratio is of, the tokens before
any pruning or those that are left, and `rounding` how it becomes a count, at least `minimum`.
"""

_BUDGET = frozenset({"of", "rounding", "minimum"})
_TARGET = re.compile(r"_target_: ivcprune\.selectors\.(\w+)")
_ENTRY = re.compile(r"^    (\w[\w, ]*): ", re.MULTILINE)


def render() -> str:
    """The page, in Markdown."""
    found = (getattr(selectors, name) for name in selectors.__all__)
    cards: list[type[Selector]] = [
        item
        for item in found
        if inspect.isclass(item) and issubclass(item, Selector) and not inspect.isabstract(item)
    ]
    alone = [_card(card) for card in cards if not _is_combinator(card)]
    around = [_card(card) for card in cards if _is_combinator(card)]
    return "\n".join([HEAD, "## Methods and sets\n", *alone, "## Combinators\n", *around])


def _is_combinator(card: type[Selector]) -> bool:
    """Whether it is made of other selectors; a ranking may own the ranking of its first stage."""
    holds = any("Selector" in str(field.type) for field in _fields(card))
    return holds and not issubclass(card, Ranked)


def _card(card: type[Selector]) -> str:
    text, _, attributes = inspect.cleandoc(card.__doc__ or "").partition("Attributes:\n")
    parts = [f"### {card.__name__}", text.strip()]
    described = [f"- {_ENTRY.sub(_name, ' ' * 4 + x)}" for x in _entries(attributes)]
    facts = [f"`{field.name}`{_default(field)}" for field in _fields(card)]
    if facts:
        parts.append("Settings: " + ", ".join(facts) + ".")
    if described:
        parts.append("\n".join(described))
    if card.needs:
        parts.append("Asks for: " + ", ".join(f"`{need}`" for need in sorted(card.needs)) + ".")
    if names := _configurations(card.__name__):
        parts.append("In `conf/selector/`: " + ", ".join(f"`{name}`" for name in names) + ".")
    return "\n\n".join(parts) + "\n"


def _entries(attributes: str) -> list[str]:
    """Entries of an "Attributes:" section, each on one line."""
    joined = re.sub(r"\n {5,}", " ", attributes.rstrip())
    return [line.strip() for line in joined.splitlines() if line.strip()]


def _name(match: re.Match[str]) -> str:
    return ", ".join(f"`{name.strip()}`" for name in match[1].split(",")) + ": "


def _fields(card: type[Selector]) -> list[Field[object]]:
    """Its own settings; those that every budget has are told once, at the head of the page."""
    return [item for item in fields(card) if item.name not in _BUDGET]


def _default(field: Field[object]) -> str:
    if field.default is not MISSING:
        return f" = {field.default}"
    return ""


def _configurations(name: str) -> list[str]:
    """Files of conf/selector/ that name the class."""
    folder = files(CONFIG_MODULE) / "selector"
    texts = {f.name: f.read_text("utf-8") for f in folder.iterdir() if f.name.endswith(".yaml")}
    return sorted(n.removesuffix(".yaml") for n, t in texts.items() if name in _TARGET.findall(t))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, help="where to write the page")
    parser.parse_args(arguments).file.write_text(render(), encoding="utf-8")


if __name__ == "__main__":
    main()
