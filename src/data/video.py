"""Frames of a video: which ones a benchmark's protocol shows, and reading just those."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import PIL.Image
from PIL.Image import Image

from .checks import check_at_least

FRAMES_FOLDER_RATE = 3.0
"""Frames a second of a folder of frames: as MVBench extracted those of its TV series."""

UNKNOWN_RATE = 25.0
"""Frames a second where a video does not say."""

MAX_PIXELS = 768 * 28 * 28
"""Area of a frame that is kept in memory: what Qwen's own video loading allows (inferred)."""


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


def read_frames(
    path: str | Path,
    sampler: FrameSampler,
    start: float | None = None,
    end: float | None = None,
    max_pixels: int = MAX_PIXELS,
) -> tuple[list[Image], Timing]:
    """The frames of a video, or of a folder of them, that `sampler` chooses, in order, as RGB.

    A video is decoded as a stream: nothing but the chosen frames is kept, each at most
    `max_pixels` in area.

    Args:
        start, end: bounds in seconds.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        ValueError: it holds no frames.
        ModuleNotFoundError: the package that decodes videos is not installed.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist: unpack the videos into data.video_folder")
    files = _frame_files(path) if path.is_dir() else []
    total, rate = (len(files), FRAMES_FOLDER_RATE) if path.is_dir() else _measure(path)
    timing = Timing(tuple(sampler.indices(total, rate, start, end)) if total else (), rate, total)
    chosen = _open(files, timing.indices) if files else _decode(path, timing.indices)
    frames = [_bounded(frame, max_pixels) for frame in chosen]
    if not frames:
        raise ValueError(f"{path} holds no frames")
    return frames, timing


def _frame_files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in (".jpg", ".png"))


def _open(files: Sequence[Path], wanted: Sequence[int]) -> Iterator[Image]:
    for index in wanted:
        with PIL.Image.open(files[index]) as frame:
            yield frame.convert("RGB")


def _measure(path: Path) -> tuple[int, float]:
    """Number of frames and frames a second of a video."""
    with _import_av().open(str(path)) as container:
        # Containers may name no number of frames, or a wrong one: packets are counted undecoded.
        stream = container.streams.video[0]
        total = sum(packet.size > 0 for packet in container.demux(stream))
        return total, float(stream.average_rate or UNKNOWN_RATE)


def _decode(path: Path, wanted: Sequence[int]) -> Iterator[Image]:
    """The frames at ascending indices; the last readable one where the rest is damaged."""
    if not wanted:
        return
    with _import_av().open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        latest: Any = None
        position = 0
        for number, latest in enumerate(container.decode(stream)):
            while position < len(wanted) and wanted[position] == number:
                yield latest.to_image()
                position += 1
            if position == len(wanted):
                return
        if latest is not None:
            for _ in wanted[position:]:
                yield latest.to_image()


def _bounded(frame: Image, max_pixels: int) -> Image:
    scale = math.sqrt(max_pixels / (frame.width * frame.height))
    if scale >= 1:
        return frame
    return frame.resize((max(1, int(frame.width * scale)), max(1, int(frame.height * scale))))


def _import_av() -> Any:
    try:
        import av
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "videos are decoded with PyAV, which is not installed: pip install 'ivcprune[video]'"
        ) from error
    return av
