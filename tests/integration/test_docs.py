"""The documentation cannot lie: its links lead somewhere and its commands compose."""

import pkgutil
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from ivcprune.configuration.build import build_job, build_policy, compose
from ivcprune.configuration.command_line import choices_of
from ivcprune.configuration.experiments import commands_of

CHECKOUT = Path(__file__).parents[2]
PAGES = [*sorted(CHECKOUT.glob("*.md")), *sorted((CHECKOUT / "docs").glob("**/*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)")
MULTIRUN = {"-m", "--multirun"}
HELP = "--help"


def commands(page: Path) -> list[str]:
    """The `ivcprune ...` lines of the page's shell blocks, continued lines joined."""
    blocks = [
        text for language, text in FENCE.findall(page.read_text("utf-8")) if language == "bash"
    ]
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.startswith("ivcprune ")]


COMMANDS = [
    pytest.param(command, id=f"{page.name}: {command}")
    for page in PAGES
    for command in dict.fromkeys(commands(page))
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    text = FENCE.sub("", page.read_text("utf-8"))
    lost = [link for link in LINK.findall(text) if not (page.parent / link).exists()]
    assert not lost


def test_there_are_commands_to_check() -> None:
    assert len(COMMANDS) >= 10


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_compose_a_job_and_a_policy(command: str) -> None:
    given = [word for word in shlex.split(command, comments=True)[1:] if word != HELP]
    for arguments in commands_of(given):
        overrides = [argument for argument in arguments if argument not in MULTIRUN]
        sweep = len(overrides) < len(arguments)
        for choice in each_once([choices_of(o) if sweep else [o] for o in overrides]):
            config = compose(choice)
            assert callable(build_job(config))
            assert build_policy(config).name == config.policy.name


def each_once(choices: Sequence[Sequence[str]]) -> Iterator[list[str]]:
    """The first of all, then every other choice beside the first of the others."""
    first = [options[0] for options in choices]
    yield first
    for i, options in enumerate(choices):
        for option in options[1:]:
            yield [*first[:i], option, *first[i + 1 :]]


def test_the_site_has_every_page_once() -> None:
    pages = sorted(pages_of(yaml.safe_load((CHECKOUT / "mkdocs.yml").read_text("utf-8"))["nav"]))
    assert pages == sorted(path.name for path in (CHECKOUT / "docs").glob("*.md"))


def pages_of(tree: Any) -> list[str]:
    if isinstance(tree, str):
        return [tree]
    parts = tree.values() if isinstance(tree, dict) else tree
    return [page for part in parts for page in pages_of(part)]


def test_the_reference_names_what_exists() -> None:
    names = re.findall(r"^::: (\S+)$", (CHECKOUT / "docs" / "api.md").read_text("utf-8"), re.M)
    assert len(names) >= 30
    for name in names:
        assert pkgutil.resolve_name(name).__doc__, name
