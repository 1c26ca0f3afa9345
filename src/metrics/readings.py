"""What scoring a reply takes and gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from .boxes import Size
from .parsers import DEFAULT_PARSER


class Target(Protocol):
    """What scoring reads of a sample; `ivcprune.data.sample.Sample` is one."""

    @property
    def task(self) -> str: ...
    @property
    def answers(self) -> Sequence[str]: ...
    @property
    def choices(self) -> Sequence[str]: ...
    @property
    def category(self) -> str: ...
    @property
    def boxes(self) -> Sequence[Sequence[float]]: ...
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Reading:
    """What a reply comes to.

    Attributes:
        parsed: what was read; "" where nothing was.
        score: in [0, 1]; None where only a judge can tell.
        settled: False where the reply is UNREAD. Without a judge the score stands.
    """

    parsed: str
    score: float | None
    settled: bool = True


@dataclass(frozen=True, slots=True)
class Conventions:
    """What reading a reply depends on beside the sample.

    Attributes:
        box_format: how the model writes boxes; see `ivcprune.metrics.boxes.BOX_FORMATS`.
        input_size: (width, height) of the first image as the model saw it.
        parser: how the published reading reads answers, one of `PARSER_NAMES[task]`.
        strip_final_stop: whether a reply is read without the full stop at its end.
    """

    box_format: str
    input_size: Size
    parser: str = DEFAULT_PARSER
    strip_final_stop: bool = False


UNREAD = Reading("", 0.0, settled=False)
"""Of a reply that no rule reads."""

OPEN_ANSWER = "open_answer"
"""The task that a judge alone can score."""

Scorer = Callable[[Target, str, Conventions], Reading]
