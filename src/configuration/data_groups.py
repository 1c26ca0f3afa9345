"""`data=grounding_all`: one name for several benchmarks of a sweep."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from omegaconf import OmegaConf


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
