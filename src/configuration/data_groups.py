"""`data=grounding_all`: one name for several benchmarks of a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from omegaconf import OmegaConf

KEY = "data="
MULTIRUN = ("-m", "--multirun")


def data_groups() -> dict[str, list[str]]:
    """The members of each group, from `conf/data_group/`."""
    return {name: list(group["members"]) for name, group in _groups().items()}


def data_pools() -> dict[str, list[str]]:
    """By name of the figure, the groups over all whose samples one is taken: those with `pool`."""
    groups = _groups().values()
    return {str(group["pool"]): list(group["members"]) for group in groups if "pool" in group}


def _groups() -> dict[str, dict[Any, Any]]:
    folder = files("ivcprune.conf") / "data_group"
    return {
        file.name.removesuffix(".yaml"): dict(OmegaConf.create(file.read_text(encoding="utf-8")))
        for file in folder.iterdir()
        if file.name.endswith(".yaml")
    }


def expand_groups(arguments: Sequence[str]) -> list[str]:
    """The arguments, groups in `data=a,b` replaced by their members.

    Raises:
        ValueError: a group without --multirun.
    """
    return [
        _expand(argument, arguments) if argument.startswith(KEY) else argument
        for argument in arguments
    ]


def _expand(argument: str, arguments: Sequence[str]) -> str:
    groups = data_groups()
    names = argument.removeprefix(KEY).split(",")
    for name in names:
        if name in groups and not any(flag in arguments for flag in MULTIRUN):
            raise ValueError(
                f"data={name} stands for {len(groups[name])} benchmarks, each a run of its own: "
                "add --multirun"
            )
    members = [member for name in names for member in groups.get(name, [name])]
    return KEY + ",".join(dict.fromkeys(members))
