"""Checks of values that come from a configuration."""

from __future__ import annotations


def check_at_least(name: str, value: int, least: int) -> None:
    """Raises ValueError unless `value`, called `name` on the command line, is an int >= `least`."""
    if not isinstance(value, int) or value < least:
        raise ValueError(f"{name} is {value!r}: it must be a whole number, at least {least}")
