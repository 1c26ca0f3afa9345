"""What is wrong with a configuration, in one sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

from hydra.errors import (
    ConfigCompositionException,
    InstantiationException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError

from ..checks import one_line, suggest
from .data_groups import data_groups

CHOSEN_BY_NAME = ("policy", "model", "data", "job", "experiment")
"""Groups in which a word without `key=` is looked for."""

OF_A_FAMILY = {
    "family": "one line, `name: NAME`",
    "selector/published": "IVC-Prune's selector as published",
    "selector/printed": "as Algorithm 1 prints it",
}
"""Groups with one file for each model family, and what is in it."""


def explain(error: Exception) -> str:
    """One sentence for what Hydra says in several lines, with a guess at a misspelt name."""
    cause = error.__cause__
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, choice = error.missing_cfg_file.rpartition("/")
        options = [*error.options, *(data_groups() if group == "data" else ())]
        advice = suggest(choice, options)
        if group in OF_A_FAMILY:
            advice += (
                f"; a family of your own needs the file {group}/{choice}.yaml ({OF_A_FAMILY[group]}"
                f") in the package that its entry point 'ivcprune.conf' names, see "
                "docs/adding_a_model.md"
            ).replace("NAME", choice)
        return f"{group}={choice} does not exist: {advice}"
    if isinstance(error, OverrideParseException):
        return _explain_syntax(error)
    if isinstance(cause, ConfigAttributeError | ConfigKeyError) and cause.full_key:
        keys = cause.parent_node if isinstance(cause.parent_node, DictConfig) else []
        own = [key for key in map(str, keys) if not key.startswith("_")]  # not Hydra's _target_
        name = str(cause.key)
        deeper = " or ".join(_below(cause.parent_node, name))
        guess = f"did you mean {deeper}? " if deeper and name not in own else ""
        return f"{cause.full_key} is not in the configuration: {guess}{suggest(name, own)}"
    if isinstance(error, InstantiationException) and cause is not None:
        key = re.search(r"full_key: (\S+)", str(error))
        return f"{key[1]}: {one_line(cause)}" if key else one_line(cause)
    if missing := _removed_group(error):
        return f"the configuration has no {missing}: choose one with {missing}=<name>"
    if isinstance(error, ConfigCompositionException) and cause is not None:
        return f"{one_line(error)}: {one_line(cause)}"
    return one_line(error)


def _below(node: Any, name: str, place: str = "") -> Iterator[str]:
    """The settings of that name within a part of the configuration, as they are written."""
    if not isinstance(node, DictConfig):
        return
    for key in map(str, node):
        if OmegaConf.is_interpolation(node, key) or OmegaConf.is_missing(node, key):
            continue
        if place and key == name:
            yield f"{place}{key}"
        yield from _below(node[key], name, f"{place}{key}.")


def _removed_group(error: Exception) -> str | None:
    """The group that `~group` removed although the choice in another group depends on it."""
    words = re.match(r"Error resolving interpolation '(.*?)', possible .* keys: (.*)", str(error))
    if words is None:
        return None
    present = words[2].replace(" ", "").split(",")
    return next((g for g in re.findall(r"\$\{(\w+)\}", words[1]) if g not in present), None)


def _explain_syntax(error: OverrideParseException) -> str:
    """What is wrong with an override that cannot be read, such as `fastv` for `policy=fastv`."""
    word = error.override
    if "=" in word or word.startswith("~"):
        return one_line(error).partition(" See https:")[0]
    guesses = [f"{group}={word}" for group in CHOSEN_BY_NAME if _is_choice(group, word)]
    hint = f"did you mean {' or '.join(guesses)}?" if guesses else "`ivcprune --help` explains it"
    return f"{word!r} is no setting, which is written key=value: {hint}"


def _is_choice(group: str, name: str) -> bool:
    return (files("ivcprune.conf") / group / f"{name}.yaml").is_file()
