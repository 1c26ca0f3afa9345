"""`job=list`: what can be chosen on the command line, plugins included."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from rich.console import Console, OverflowMethod
from rich.text import Text

from ..checks import suggest
from ..configuration.data_groups import data_groups

GROUPS = {
    "policy": "policy=<name>",
    "selector": "selector@policy.stages.<stage>.selector=<name>",
    "model": "model=<name>",
    "family": "what models of a family were held to (chosen by model=<name>)",
    "data": "data=<name>",
    "data_group": "--multirun data=<group>",
    "prompt": "prompt@model.prompts=<name>",
    "generation": "generation=<name>",
    "trainer": "trainer=<name>",
    "logger": "logger=<name>",
    "judge": "judge=<name>",
    "efficiency_model": "job=efficiency efficiency_model@job.model=<name>",
    "experiment": "--multirun experiment=<name>",
    "job": "job=<name>",
}
"""Configuration groups by the option that chooses from them."""

REST = "Others"
"""Heading of the choices that no section claims."""

Patterns = Mapping[str, Sequence[str]]


def run(cfg: DictConfig, *, group: str | None, sections: Mapping[str, Patterns]) -> None:
    """Prints every choice on a line, with the description that its file begins with.

    Args:
        group: print this configuration group only; None = all.
        sections: by group, headings and the name patterns below them; the first that fits counts.
            Data sets stand under the data groups that sweep over them.

    Raises:
        ValueError: there is no such group.
    """
    if group is not None and group not in GROUPS:
        raise ValueError(f"job.group is {group!r}: {suggest(group, GROUPS)}")
    folders = [
        folder
        for source in HydraConfig.get().runtime.config_sources
        if (folder := config_folder(source.schema, source.path)) is not None
    ]
    console = Console()
    for name in [group] if group else GROUPS:
        patterns = _data_sections(folders) if name == "data" else sections.get(name, {})
        if choices := choices_in(name, folders):
            console.print(GROUPS[name], style="bold", markup=False, highlight=False)
            _print_choices(console, in_sections(choices, patterns))


def in_sections(choices: Mapping[str, str], patterns: Patterns) -> dict[str, dict[str, str]]:
    """The choices by heading, in the order of `patterns`; what fits none comes last."""
    result: dict[str, dict[str, str]] = {heading: {} for heading in (*patterns, REST)}
    for name, description in choices.items():
        fitting = (h for h, p in patterns.items() if any(fnmatchcase(name, one) for one in p))
        result[next(fitting, REST)][name] = description
    return {heading: members for heading, members in result.items() if members}


def choices_in(group: str, folders: Iterable[Traversable]) -> dict[str, str]:
    """Description of each choice of a group by its name; the first folder that has it wins."""
    choices: dict[str, str] = {}
    for folder in folders:
        if (folder / group).is_dir():
            for file in sorted((folder / group).iterdir(), key=_natural_order):
                name, _, ending = file.name.rpartition(".")
                if ending == "yaml" and name not in choices:
                    choices[name] = describe(file.read_text(encoding="utf-8"))
    return choices


def describe(text: str) -> str:
    """The first comment line of a configuration that is no directive; "" without one."""
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# @"):
            return line.removeprefix("#").strip()
    return ""


def config_folder(schema: str, path: str) -> Traversable | None:
    """Where a source of Hydra's search path has its files; None where that is no folder."""
    if schema == "file":
        return Path(path)
    return files(path) if schema == "pkg" else None


def _natural_order(file: Traversable) -> list[tuple[str, int]]:
    """Sorts tab2 before tab10, and 3b before 32b."""
    return [(text, int(number or 0)) for text, number in re.findall(r"(\D+)(\d*)|", file.name)]


def _data_sections(folders: Iterable[Traversable]) -> dict[str, list[str]]:
    descriptions = choices_in("data_group", folders)
    return {
        f"data={name}: {descriptions.get(name, '')}": members
        for name, members in sorted(data_groups().items())
    }


def _print_choices(console: Console, sections: Mapping[str, Mapping[str, str]]) -> None:
    """A line a choice: a terminal cuts it at its width, a file or a pipe gets all of it."""
    width = max(len(name) for members in sections.values() for name in members)
    for heading, members in sections.items():
        if len(sections) > 1:
            _print_line(console, Text(f"  {heading}", style="italic"))
        for name, description in members.items():
            line = Text(f"    {name:<{width}}  {description}".rstrip())
            line.stylize("cyan", 4, 4 + len(name))
            _print_line(console, line)
    console.print()


def _print_line(console: Console, line: Text) -> None:
    overflow: OverflowMethod = "ellipsis" if console.is_terminal else "ignore"
    console.print(line, no_wrap=True, overflow=overflow, crop=console.is_terminal)
