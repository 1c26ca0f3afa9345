"""The settings of a run that tell it from comparable ones."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from .read import Run

RUN_SETTINGS = ("seed", "attention", "generation")
"""Beside the policy, the keys of the configuration in which comparable runs may differ."""
LAYER = re.compile(r"stages\.([^.]+)\.layer")


def choices_of(run: Run) -> dict[str, Any]:
    """The settings in which runs of one group may differ, by dotted name.

    A stage's layer is the one at which it acted, whether the policy names it or leaves it to the
    model: runs that chose at one layer do not differ in it.
    """
    settings = {"": run.config.get("policy")}
    settings |= {name: run.config.get(name) for name in RUN_SETTINGS}
    choices = flatten(settings)
    for name in choices:
        if (stage := LAYER.fullmatch(name)) and stage[1] in run.layers:
            choices[name] = run.layers[stage[1]]
    return choices


def flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Leaves of nested mappings by dotted name."""
    if not isinstance(tree, Mapping):
        return {prefix: tree} if prefix else {}
    leaves: dict[str, Any] = {}
    for name, value in tree.items():
        leaves |= flatten(value, ".".join(part for part in (prefix, str(name)) if part))
    return leaves


def canonical(*parts: Any) -> str:
    return json.dumps(parts, sort_keys=True, default=str)
