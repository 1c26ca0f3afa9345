"""Reading the frames of a video that are shown, and no others."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import PIL.Image
from PIL.Image import Image

from .frames import FrameSampler, Timing

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
