"""Which frames of a video a benchmark's protocol shows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from ..checks import check_at_least


class FrameSampler(Protocol):
    """Chooses the frames of a video that a model sees."""

    def indices(
        self, total: int, rate: float, start: float | None = None, end: float | None = None
    ) -> list[int]:
        """Ascending 0-based indices among `total` frames.

        Args:
            rate: frames a second of the video.
            start, end: the part that is asked about, in seconds; None = from the first frame, to
                the last one.
        """


@dataclass(frozen=True, slots=True)
class Timing:
    """When the frames that are shown stand in their video.

    Attributes:
        indices: of the frames, ascending from 0.
        rate: frames a second of the video.
        total: frames of the video.
    """

    indices: tuple[int, ...]
    rate: float
    total: int

    @property
    def span(self) -> int:
        """Frames of the video that the shown ones stand for, the part in question if there is one.

        As many as follow from their mean distance; all, where there is none.
        """
        n = len(self.indices)
        distance = self.indices[-1] - self.indices[0]
        return round(distance * n / (n - 1)) if n > 1 and distance else self.total


@dataclass(frozen=True)
class UniformFrames:
    """`count` frames at equal distances, the ends left out: `int(i * N / (count + 1))`, i from 1.

    As in VLMEvalKit for Video-MME and MLVU. A video with fewer frames gives all it has (inferred);
    bounds are not used.
    """

    count: int

    def __post_init__(self) -> None:
        check_at_least("data.frames.count", self.count, 1)

    def indices(
        self, total: int, rate: float, start: float | None = None, end: float | None = None
    ) -> list[int]:
        if total <= self.count:
            return list(range(total))
        return [i * total // (self.count + 1) for i in range(1, self.count + 1)]


@dataclass(frozen=True)
class FramesPerSecond:
    """`fps` frames a second: `int(i * rate / fps)`, i from 0, as in VLMEvalKit.

    Attributes:
        most: frames at most; a longer video is shown uniformly by so many (inferred).
    """

    fps: float
    most: int = 768

    def __post_init__(self) -> None:
        if not (isinstance(self.fps, int | float) and self.fps > 0):
            raise ValueError(f"data.frames.fps is {self.fps!r}: it must be a number above 0")
        check_at_least("data.frames.most", self.most, 1)

    def indices(
        self, total: int, rate: float, start: float | None = None, end: float | None = None
    ) -> list[int]:
        count = max(1, math.floor(total / rate * self.fps)) if total else 0
        if count > self.most:
            return UniformFrames(self.most).indices(total, rate)
        # A video slower than `fps` would give frames twice.
        return sorted({min(int(i * rate / self.fps), total - 1) for i in range(count)})


@dataclass(frozen=True)
class SegmentCentres:
    """The centres of `count` equal segments between the bounds, as in VLMEvalKit for MVBench."""

    count: int

    def __post_init__(self) -> None:
        check_at_least("data.frames.count", self.count, 1)

    def indices(
        self, total: int, rate: float, start: float | None = None, end: float | None = None
    ) -> list[int]:
        last = total - 1
        first = 0 if start is None else min(max(0, round(start * rate)), last)
        final = last if end is None else min(max(first, round(end * rate)), last)
        length = (final - first) / self.count
        return [int(first + length / 2 + round(length * i)) for i in range(self.count)]
