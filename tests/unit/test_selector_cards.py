"""The page about selectors says what their docstrings say, and every one of them has a card."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from ivcprune import selectors
from ivcprune.selectors import Selector
from ivcprune.testing import selector_cards

PAGE = Path(__file__).parents[2] / "docs" / "selectors.md"
CARDS = [
    item
    for item in (getattr(selectors, name) for name in selectors.__all__)
    if inspect.isclass(item) and issubclass(item, Selector) and not inspect.isabstract(item)
]


def test_the_page_is_up_to_date():
    assert PAGE.read_text("utf-8") == selector_cards.render(), (
        "run: python -m ivcprune.testing.selector_cards docs/selectors.md"
    )


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.__name__)
def test_every_selector_has_a_card(card):
    assert f"\n### {card.__name__}\n" in selector_cards.render()


def test_settings_signals_and_configurations_are_named():
    page = selector_cards.render()
    _, _, rest = page.partition("### VScanSelector\n")
    card = rest.partition("\n### ")[0]
    assert "Settings: `keep` = 0.6, `window` = 4, `quota` = most." in card
    assert "- `window`: side of a window" in card
    assert "Asks for: `vision_attention_early`, `vision_attention_late`." in card
    assert "`vscan_tower`" in card


def test_combinators_are_told_apart():
    _, _, combinators = selector_cards.render().partition("## Combinators\n")
    assert "### MergeDropped" in combinators
    assert "### Union" in combinators
    assert "### RefineSelector" not in combinators


def test_writes_the_page(tmp_path):
    selector_cards.main([str(tmp_path / "page.md")])
    assert (tmp_path / "page.md").read_text("utf-8") == selector_cards.render()
