"""Checks of values that come from a configuration, and the wording of what they find."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def check_at_least(name: str, value: int, least: int) -> None:
    """Raises ValueError unless `value`, called `name` on the command line, is an int >= `least`."""
    if not isinstance(value, int) or value < least:
        raise ValueError(f"{name} is {value!r}: it must be a whole number, at least {least}")


def check_each_at_least(name: str, values: object, least: int) -> None:
    """Raises ValueError unless `values` is a list of ints >= `least`, with one at least."""
    if not isinstance(values, list) or not values:
        raise ValueError(f"{name} is {values!r}: give a list, for example [{least}]")
    for value in values:
        check_at_least(name, value, least)


def one_line(error: BaseException) -> str:
    """The message without line breaks."""
    return " ".join(str(error).split())


def suggest(name: str, known: Iterable[str]) -> str:
    """The choices, the one that `name` is nearest to in front."""
    options = sorted(known)
    if not options:
        return "there is nothing to choose from"
    close = difflib.get_close_matches(name, options, n=1)
    guess = f"did you mean {close[0]!r}? " if close else ""
    return f"{guess}choose one of {', '.join(options)}"
