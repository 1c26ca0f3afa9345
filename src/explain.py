"""What is wrong with a configuration, in one sentence."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from hydra.errors import (
    ConfigCompositionException,
    InstantiationException,
    MissingConfigException,
)
from omegaconf import DictConfig
from omegaconf.errors import ConfigAttributeError, ConfigKeyError


def explain(error: Exception) -> str:
    """One sentence for what Hydra says in several lines, with a guess at a misspelt name."""
    cause = error.__cause__
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, choice = error.missing_cfg_file.rpartition("/")
        return f"{group}={choice} does not exist: {_suggest(choice, error.options)}"
    if isinstance(cause, ConfigAttributeError | ConfigKeyError) and cause.full_key:
        keys = cause.parent_node if isinstance(cause.parent_node, DictConfig) else []
        return f"{cause.full_key} is not in the configuration: {_suggest(str(cause.key), keys)}"
    if isinstance(error, InstantiationException) and cause is not None:
        key = re.search(r"full_key: (\S+)", str(error))
        return f"{key[1]}: {one_line(cause)}" if key else one_line(cause)
    if isinstance(error, ConfigCompositionException) and cause is not None:
        return f"{one_line(error)}: {one_line(cause)}"
    return one_line(error)


def one_line(error: BaseException) -> str:
    """The message without line breaks."""
    return " ".join(str(error).split())


def _suggest(name: str, known: Iterable[object]) -> str:
    options = sorted(map(str, known))
    if not options:
        return "there is nothing to choose from"
    close = difflib.get_close_matches(name, options, n=1)
    guess = f"did you mean {close[0]!r}? " if close else ""
    return f"{guess}choose one of {', '.join(options)}"
