"""Checks of values that come from a configuration."""

from __future__ import annotations


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
