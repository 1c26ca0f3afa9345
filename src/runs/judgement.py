"""What a judge was asked of a run."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Judgement:
    """`judge` of `metrics.json`.

    Attributes:
        name: of the judge.
        cases: how many replies a reading left open that a judge can tell and the metric depends on.
        settled: how many of them the judge settled. The others are wrong; of open answers, they
            are left out.
        obstacle: why the judge was not asked; None where it was, or there is none.
    """

    name: str
    cases: int
    settled: int
    obstacle: str | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)
