"""The index of methods in docs/methods.md is complete, and what it names is there."""

from __future__ import annotations

import inspect
import json
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from ivcprune import selectors
from ivcprune.configuration.build import compose
from ivcprune.provenance.code import targets_in
from ivcprune.selectors import Selector

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "methods.md"
LINK = re.compile(r"\[([^\]]+)\]\(([^)]+)\)")
ARXIV = re.compile(r"arXiv\s+(\d{4}\.\d{5})")
NOTHING = "\N{EN DASH}"
SETS_ALONE = ("combinators", "thumbnails")
"""Modules of selectors that put sets together, and are of no method."""


@dataclass(frozen=True)
class Row:
    """One line of the index."""

    policies: list[str]
    files: dict[str, str]
    cards: dict[str, str]
    paper: str
    code: str
    exact: str
    measured: str


@cache
def index() -> list[Row]:
    _, _, section = PAGE.read_text("utf-8").partition("## Index\n")
    table = [line for line in section.partition("\n## ")[0].splitlines() if line.startswith("|")]
    rows = []
    for line in table[2:]:
        policies, paths, cards, *rest = (cell.strip() for cell in line.strip("|").split(" | "))
        names = re.findall(r"`(\w+)`", policies)
        rows.append(Row(names, dict(LINK.findall(paths)), dict(LINK.findall(cards)), *rest))
    return rows


def doc(name: str) -> str:
    return inspect.getdoc(getattr(selectors, name)) or ""


def concrete() -> list[str]:
    """Selectors that are exported, but for those that only put sets together."""
    found = {name: getattr(selectors, name) for name in selectors.__all__}
    return [
        name
        for name, item in found.items()
        if inspect.isclass(item)
        and issubclass(item, Selector)
        and not inspect.isabstract(item)
        and item.__module__.rpartition(".")[2] not in SETS_ALONE
    ]


by_row = pytest.mark.parametrize("row", index(), ids=lambda row: row.policies[0])


def test_every_policy_has_one_row() -> None:
    folder = files("ivcprune.conf") / "policy"
    known = sorted(f.name[:-5] for f in folder.iterdir() if f.name.endswith(".yaml"))
    assert sorted(name for row in index() for name in row.policies) == known


def test_every_selector_of_a_published_method_has_a_row() -> None:
    named = {card for row in index() for card in row.cards}
    published = {name for name in concrete() if ARXIV.search(doc(name))}
    assert published - named == set()
    assert len(published) > 20


@pytest.mark.parametrize("name", concrete())
def test_every_selector_says_where_it_comes_from(name: str) -> None:
    assert ARXIV.search(doc(name)) or re.search(r"\bours\b", doc(name))


@by_row
def test_files_and_cards_are_there(row: Row) -> None:
    cards = (ROOT / "docs" / "selectors.md").read_text("utf-8")
    for name, link in row.files.items():
        assert (PAGE.parent / link).resolve() == ROOT / "src" / "selectors" / name
        assert (PAGE.parent / link).is_file()
    defined_in = set()
    for card, link in row.cards.items():
        assert link == f"selectors.md#{card.lower()}"
        assert f"\n### {card}\n" in cards
        defined_in.add(getattr(selectors, card).__module__.rpartition(".")[2] + ".py")
    assert defined_in == set(row.files)


@by_row
def test_policies_are_made_of_what_the_row_names(row: Row) -> None:
    used = set()
    for policy in row.policies:
        config = OmegaConf.to_container(compose([f"policy={policy}"]), resolve=True)
        assert isinstance(config, dict)
        used |= {target.rpartition(".")[2] for target in targets_in(config["policy"])}
    assert set(row.cards) <= used
    methods = {name for name in used & set(concrete()) if ARXIV.search(doc(name))}
    # a control is counted by coordinates, and takes nothing else of them
    assert methods - set(row.cards) <= {"IVCSelector", "SeedSelector", "RefineSelector"}


@by_row
def test_paper_and_code_are_those_of_the_card(row: Row) -> None:
    ours = row.paper in (NOTHING, "ours")
    papers = LINK.findall(row.paper)
    assert ours != bool(papers)
    for number, link in papers:
        assert link == f"https://arxiv.org/abs/{number}"
        assert any(number in ARXIV.findall(doc(card)) for card in row.cards)
    for name, link in LINK.findall(row.code):
        commit = row.code.rpartition(" @ ")[2]
        assert link == f"https://github.com/{name}"
        assert re.fullmatch(r"[0-9a-f]{7}", commit)
        main = " ".join(doc(next(iter(row.cards))).split())
        assert name in main
        assert commit in main
    assert (row.exact != NOTHING) == bool(LINK.findall(row.code))


@by_row
def test_the_measured_result_is_that_of_the_results(row: Row) -> None:
    if link := LINK.findall(row.measured):
        assert all((PAGE.parent / target).is_file() for _, target in link)
        return
    values = [_measured(policy) for policy in row.policies]
    first, rest = values[0], values[1:]
    assert not any(rest), "a policy that was measured gets a row of its own"
    expected = NOTHING if first is None else f"{first:.1f}".replace("-", "\N{MINUS SIGN}")
    assert row.measured == expected


@cache
def _results() -> list[dict[str, Any]]:
    content = json.loads((ROOT / "results" / "methods" / "metrics.json").read_text("utf-8"))
    return [*content["methods"], *content["patterns"]]


def _measured(policy: str) -> float | None:
    """Difference to vanilla at half of the tokens, or as the policy is."""
    for result in _results():
        if result["policy"] == policy and result["asked_average_tokens"] in (0.5, None):
            difference = result["difference_to_vanilla"]
            return None if difference is None else float(difference["value"])
    return None
