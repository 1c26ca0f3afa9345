"""Reading the frames of a video that are shown, and no others."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from PIL.Image import Image

from .frames import FrameSampler, Timing
from .pictures import open_picture

log = logging.getLogger(__name__)

FRAME_ENDINGS = (".jpg", ".jpeg", ".png", ".webp")

FRAMES_FOLDER_RATE = 3.0
"""Frames a second of a folder of frames: as MVBench extracted those of its TV series."""

UNKNOWN_RATE = 25.0
"""Frames a second where a video does not say."""

MAX_PIXELS = 768 * 28 * 28
"""Area of a frame that is kept in memory: what Qwen's own video loading allows (inferred)."""


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
        ValueError: it holds no frames, or none in the part in question.
        ModuleNotFoundError: the package that decodes videos is not installed.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist: unpack the videos into data.video_folder")
    film = _film_of_folder(path) if path.is_dir() else _film_of_file(path)
    chosen, timing = _choose(film, sampler, start, end)
    frames = [_bounded(frame, max_pixels) for frame in film.frames(chosen)]
    if len(frames) < len(chosen):
        film = _decodable(film)
        chosen, timing = _choose(film, sampler, start, end)
        frames = [_bounded(frame, max_pixels) for frame in film.frames(chosen)]
    if len(frames) < len(chosen):
        raise ValueError(f"{path}: of its frames {chosen} only {len(frames)} can be decoded")
    return frames, timing


@dataclass(frozen=True, slots=True)
class _Film:
    """A video, or a folder of its frames.

    Attributes:
        total: number of frames.
        rate: frames a second.
        frames: the frames at ascending indices as RGB, as many of them as can be decoded.
    """

    path: Path
    total: int
    rate: float
    frames: Callable[[Sequence[int]], Iterator[Image]]


def _choose(
    film: _Film, sampler: FrameSampler, start: float | None, end: float | None
) -> tuple[Sequence[int], Timing]:
    if not film.total:
        raise ValueError(f"{film.path} holds no frames")
    _check_part(film, start, end)
    chosen = tuple(sampler.indices(film.total, film.rate, start, end))
    return chosen, Timing(chosen, film.rate, film.total)


def _check_part(film: _Film, start: float | None, end: float | None) -> None:
    """Fails where no frame is in the part in question; a sampler would repeat one at its bound."""
    first = 0.0 if start is None else start
    seconds = film.total / film.rate
    if not first < seconds or not (end is None or end >= first):
        raise ValueError(
            f"the part in question, from {start} to {end} s, is none of {film.path}, which is "
            f"{seconds:.2f} s long"
        )


def _film_of_folder(folder: Path) -> _Film:
    files = sorted(
        (file for file in folder.iterdir() if file.suffix.lower() in FRAME_ENDINGS), key=_in_order
    )

    def frames(wanted: Sequence[int]) -> Iterator[Image]:
        return (open_picture({"bytes": None, "path": str(files[index])}) for index in wanted)

    return _Film(folder, len(files), FRAMES_FOLDER_RATE, frames)


def _in_order(file: Path) -> list[tuple[int, str]]:
    """Sorts `frame10` after `frame9`."""
    parts = re.split(r"(\d+)", file.name)
    return [(int(part), part) if part.isdecimal() else (-1, part) for part in parts]


def _film_of_file(path: Path) -> _Film:
    with _import_av().open(str(path)) as container:
        # Containers may name no number of frames, or a wrong one: packets are counted undecoded,
        # but for those that are there for the sake of others, such as frames before a cut.
        if not container.streams.video:
            raise ValueError(f"{path} holds no frames")
        stream = container.streams.video[0]
        shown = [
            None if packet.pts is None else float(packet.pts * packet.time_base)
            for packet in container.demux(stream)
            if packet.size > 0 and not packet.is_discard
        ]
        rate = _rate(
            float(stream.average_rate or UNKNOWN_RATE), [t for t in shown if t is not None]
        )
    return _Film(path, len(shown), rate, partial(_decode, path))


def _rate(said: float, times: Sequence[float]) -> float:
    """Frames a second: what the container says, unless its frames stand otherwise.

    Of a variable rate, Matroska and AVI name that of their clock: seven frames over six seconds
    would count as a quarter of a second.

    Args:
        times: of the frames, in seconds, in any order.
    """
    steps = len(times) - 1
    span = max(times, default=0.0) - min(times, default=0.0)
    # a frame's length is left to how containers count the last one
    return said if span <= 0 or abs(steps / said - span) <= 1 / said else steps / span


def _decode(path: Path, wanted: Sequence[int]) -> Iterator[Image]:
    """The frames at ascending indices; those that cannot be decoded are left out."""
    with _import_av().open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        position = 0
        for number, frame in enumerate(container.decode(stream)):
            while position < len(wanted) and wanted[position] == number:
                # As a phone was held: the rotation is counterclockwise, in degrees, as Pillow's.
                yield frame.to_image().rotate(frame.rotation, expand=True)
                position += 1
            if position == len(wanted):
                return


def _decodable(film: _Film) -> _Film:
    """The film of the frames that can be decoded; says how many are missing."""
    with _import_av().open(str(film.path)) as container:
        total = sum(1 for _ in container.decode(container.streams.video[0]))
    log.warning(
        "%s has %d frames, of which %d can be decoded: the shown ones are chosen among these",
        film.path,
        film.total,
        total,
    )
    return replace(film, total=total)


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
