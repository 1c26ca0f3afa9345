"""What of a record is not as promised."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

TOLERANCE = 1e-4
"""Of log-probabilities in float32."""

NEGATIVE = "negative control"


def problems_of(checks: Mapping[str, Any]) -> list[str]:
    """One sentence for each promise that did not hold; empty where all did."""
    found = []
    for name, check in checks.items():
        if name == NEGATIVE and "error" not in check:
            if not list(_in(check)):
                found.append(f"{name}: it did not fail, so the comparison proves nothing")
            continue
        found += [f"{name}: {problem}" for problem in _in(check)]
    return found


def _in(value: Any, key: str = "") -> Iterator[str]:
    """Problems of one value and of all inside it."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _in(inner, f"{key} {name}".strip())
    elif key.endswith("error"):
        yield f"ended early: {str(value).strip().splitlines()[-1] if value else 'no message'}"
    elif key.endswith("not_refused") and value:
        yield f"not refused: {', '.join(value)}"
    elif isinstance(value, str) and value.startswith("NOT REFUSED"):
        yield f"{key}: not refused{value.removeprefix('NOT REFUSED')}"
    elif key.endswith("computed_on_second_run") and value:
        yield f"{key}: {value}, the cache was not used"
    elif key.endswith("again cached_tokens") and not value:
        yield f"{key}: no prefix was taken from the cache, so nothing shows that it is right"
    elif key.endswith("largest_log_prob_difference") and value > TOLERANCE:
        yield f"{key}: {value:.2g} is more than {TOLERANCE}"
    elif isinstance(value, str) and _falls_short(value):
        yield f"{key}: {value}"


def _falls_short(value: str) -> bool:
    """Whether it is a count such as "23 of 24"."""
    count = re.fullmatch(r"(\d+) of (\d+)", value)
    return count is not None and count[1] != count[2]
