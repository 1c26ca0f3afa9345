"""What a judge is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Case:
    """A reply that exact matching could not read.

    Attributes:
        choices: option texts in the order A, B, C, ...; empty unless multiple choice.
        answers: accepted answers; for multiple choice, letters.
        metadata: what the benchmark's source keeps, such as the scoring points of an open answer.
    """

    id: str
    task: str
    question: str
    choices: Sequence[str]
    answers: Sequence[str]
    reply: str
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the judge made of a reply: what it reads as, and its score in [0, 1]."""

    parsed: str
    score: float


class Judge(Protocol):
    """Configured by `conf/judge/<name>.yaml`."""

    @property
    def name(self) -> str:
        """What results call the judge."""

    def obstacle(self) -> str | None:
        """Why it cannot be asked, as a sentence; None = it can, as far as is known."""

    def settle(self, cases: Sequence[Case], cache_dir: Path) -> list[Verdict | None]:
        """A verdict for each case; None where it gave none. What it said is kept in `cache_dir`."""


@dataclass(frozen=True)
class NoJudge:
    """Settles nothing: what exact matching cannot read is wrong."""

    name: str = "none"

    def obstacle(self) -> str | None:
        return None

    def settle(self, cases: Sequence[Case], cache_dir: Path) -> list[Verdict | None]:
        return [None] * len(cases)
