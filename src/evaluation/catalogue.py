"""`job=list`: what can be chosen on the command line, plugins included."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from rich.table import Table

from .console import table_console

GROUPS = {
    "policy": "policy=<name>",
    "selector": "selector@policy.stages.<stage>.selector=<name>",
    "model": "model=<name>",
    "data": "data=<name>",
    "data_group": "--multirun data=<group>",
    "prompt": "prompt@model.prompts=<name>",
    "trainer": "trainer=<name>",
    "logger": "logger=<name>",
    "judge": "judge=<name>",
    "experiment": "--multirun experiment=<name>",
    "job": "job=<name>",
}
"""Configuration groups by the option that chooses from them."""


def run(cfg: DictConfig) -> None:
    """Prints every choice with the description that its file begins with."""
    folders = [
        folder
        for source in HydraConfig.get().runtime.config_sources
        if (folder := config_folder(source.schema, source.path)) is not None
    ]
    console = table_console()
    for group, option in GROUPS.items():
        choices = choices_in(group, folders)
        if choices:
            table = Table.grid(padding=(0, 2))
            for name, description in choices.items():
                table.add_row(f"  {name}", description)
            console.print(option, style="bold", markup=False, highlight=False)
            console.print(table, "")


def choices_in(group: str, folders: Iterable[Traversable]) -> dict[str, str]:
    """Description of each choice of a group by its name; the first folder that has it wins."""
    choices: dict[str, str] = {}
    for folder in folders:
        if (folder / group).is_dir():
            for file in sorted((folder / group).iterdir(), key=lambda file: file.name):
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
