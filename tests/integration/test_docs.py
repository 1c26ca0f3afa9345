"""The documentation cannot lie: its links lead somewhere and its commands compose."""

import re
import shlex
from itertools import product
from pathlib import Path

import pytest

from ivcprune.build import build_job, build_policy, choices_of, compose
from ivcprune.groups import expand_groups

CHECKOUT = Path(__file__).parents[2]
PAGES = [*sorted(CHECKOUT.glob("*.md")), *sorted((CHECKOUT / "docs").glob("**/*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)")
MULTIRUN = {"-m", "--multirun"}


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
    arguments = expand_groups(shlex.split(command, comments=True)[1:])
    overrides = [argument for argument in arguments if argument not in MULTIRUN]
    sweep = len(overrides) < len(arguments)
    for choices in product(*(choices_of(o) if sweep else [o] for o in overrides)):
        config = compose(choices)
        assert callable(build_job(config))
        assert build_policy(config).name == config.policy.name
