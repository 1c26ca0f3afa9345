"""Checks of values that come from a configuration, and the wording of what they find."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import TypeGuard


def setting(owner: object, field: str) -> str:
    """How a message calls a field of an object: by its class and its name."""
    return f"{type(owner).__name__}.{field}"


def check_at_least(name: str, value: object, least: int) -> None:
    """Raises ValueError unless `value`, called `name` on the command line, is an int >= `least`."""
    if not _is_whole(value) or value < least:
        raise ValueError(f"{name} is {value!r}: it must be a whole number, at least {least}")


def check_share(name: str, value: object) -> None:
    """Raises ValueError unless `value` is a number above 0 and at most 1."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0.0 < value <= 1.0:
        raise ValueError(f"{name} is {value!r}: it must be in (0, 1], for example 0.5")


def check_fraction(name: str, value: object) -> None:
    """Raises ValueError unless `value` is a number in [0, 1]."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0.0 <= value <= 1.0:
        raise ValueError(f"{name} is {value!r}: it must be a share in [0, 1]")


def check_choice(name: str, value: object, known: Iterable[str]) -> None:
    """Raises ValueError unless `value` is one of the known words."""
    options = list(known)
    if value not in options:
        raise ValueError(f"{name} is {value!r}: {suggest(str(value), options)}")


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


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
    # tab9 is no misspelt tab99: another number is another thing
    alike = [option for option in options if _digits(option) in ("", _digits(name))]
    longer = [option for option in alike if name.startswith(f"{option}_")]
    close = difflib.get_close_matches(name, alike, n=1) or longer[-1:]
    guess = f"did you mean {close[0]!r}? " if close else ""
    return f"{guess}choose one of {', '.join(options)}"


def _digits(name: str) -> str:
    return "".join(re.findall(r"\d", name))
