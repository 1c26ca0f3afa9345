"""Figures as text, the same in the terminal and in the HTML page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..runs.read import Score
from .paired import Difference

DASH = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
MISSING = DASH


def number(value: float | None) -> str:
    return MISSING if value is None else f"{value:.1f}"


def percent(value: float | None) -> str:
    return MISSING if value is None else f"{value:.1f} %"


def share(value: float | None) -> str:
    """A share in [0, 1] as a percentage, e.g. "50.0 %"."""
    return percent(None if value is None else 100 * value)


def size(n_bytes: float | None) -> str:
    """Bytes with a binary unit, e.g. "1.25 MiB"."""
    if n_bytes is None:
        return MISSING
    for unit in ("B", "KiB", "MiB"):
        if n_bytes < 1024:
            return f"{n_bytes:.3g} {unit}"
        n_bytes /= 1024
    return f"{n_bytes:.3g} GiB"


def interval(score: Score) -> str:
    """Bounds of the score, e.g. "90.1–95.4"."""
    return MISSING if score.low is None else f"{number(score.low)}{DASH}{number(score.high)}"


def signed(value: float) -> str:
    """A number that always shows its sign, e.g. "+1.2", but "0.0"."""
    text = f"{abs(value):.1f}"
    if text == "0.0":
        return text
    return f"{'+' if value > 0 else MINUS}{text}"


def bounds(difference: Difference) -> str:
    """Interval of the difference, e.g. "[−2.0, −0.4]"."""
    return f"[{signed(difference.low)}, {signed(difference.high)}]"


def mark(difference: Difference | None) -> str:
    """Arrow up or down where the difference to vanilla is beyond its interval, else nothing."""
    if difference is None or not difference.significant:
        return ""
    return "▲" if difference.value > 0 else "▼"


def judged(name: str, judge: Mapping[str, Any] | None) -> str:
    """What a judge settled of a run's unreadable replies, or would have had to; "" for nothing."""
    if judge is None or not judge["cases"]:
        return ""
    if judge["settled"]:
        return (
            f"{name}: judge {judge['name']} settled {judge['settled']} of {judge['cases']} replies"
        )
    return f"{name}: {judge['cases']} replies that exact matching cannot read were not judged"
