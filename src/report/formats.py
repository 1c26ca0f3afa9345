"""Figures as text, the same in the terminal and in the HTML page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..runs.read import Score
from ..runs.schema import Judgement
from .paired import Difference

DASH = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
MISSING = DASH
NOTEWORTHY = 1.0
"""Points between the readings of a score from which a report speaks of them."""


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


def kept(row: Mapping[str, Any]) -> str:
    """How many tokens of a sample its picture shows as kept, e.g. "27 of 54 tokens".

    A picture shows what the last stage left; of several stages each is named. The average over
    layers, by which policies are compared, is told where it is another share.
    """
    stages = json.loads(row["kept_by_stage"] or "{}")
    return kept_of(row["n_kept"], row["n_visual"], stages, row["average_tokens"])


def kept_of(left: int, before: int, by_stage: Mapping[str, int], average: float | None) -> str:
    """As `kept`.

    Args:
        average: share of the visual tokens in the cache, mean over layers, in [0, 1].
    """
    told = f"{left} of {before} tokens"
    if len(by_stage) > 1:
        each = ", ".join(f"{name} {count}" for name, count in by_stage.items())
        told += f" after the last of {len(by_stage)} stages ({each})"
    if average is None or abs(left - average * before) < 0.5:
        return told
    return f"{told}; {over_layers(average)}"


def over_layers(average: float | None) -> str:
    """E.g. "50.0 % on average over layers"."""
    return f"{share(average)} on average over layers"


def differing_readings(
    scores: Mapping[str, float | None], published: Mapping[str, float | None]
) -> list[str]:
    """A sentence for every score whose published reading is more than a point away."""
    return [
        f"{name}: {number(value)} as a person reads the replies, {number(other)} to the letter of "
        "the published evaluation"
        for name, value in scores.items()
        if value is not None
        and (other := published.get(name)) is not None
        and abs(value - other) > NOTEWORTHY
    ]


def unread(name: str, count: int | None, n: int) -> str:
    """How many of a run's replies nobody could read; "" for none, or where it was not counted."""
    return f"{name}: {count} of {n} replies UNREAD" if count else ""


def judged(name: str, judge: Judgement | None) -> str:
    """What a judge settled of a run's unreadable replies, or would have had to; "" for nothing."""
    if judge is None or not judge["cases"]:
        return ""
    if judge["settled"]:
        return (
            f"{name}: judge {judge['name']} settled {judge['settled']} of {judge['cases']} replies"
        )
    return f"{name}: {judge['cases']} replies that exact matching cannot read were not judged"
