"""Which frames are shown, and reading just those; the videos are made here."""

from __future__ import annotations

import logging
import struct
import sys
import weakref
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ivcprune.data import video
from ivcprune.data.frames import FramesPerSecond, SegmentCentres, Timing, UniformFrames
from ivcprune.data.video import read_frames
from source_formats import write_video


def brightness(frames: list[Image.Image]) -> list[int]:
    """The number of each frame of `write_video`, by its brightness."""
    return [round(float(np.asarray(frame).mean()) / 20) for frame in frames]


def test_uniform_frames_leave_out_both_ends() -> None:
    assert UniformFrames(4).indices(100, 25) == [20, 40, 60, 80]
    assert UniformFrames(2).indices(10, 25) == [3, 6]
    assert UniformFrames(8).indices(3, 25) == [0, 1, 2]


def test_frames_per_second() -> None:
    assert FramesPerSecond(1).indices(100, 25) == [0, 25, 50, 75]
    assert FramesPerSecond(0.5).indices(100, 25) == [0, 50]
    assert FramesPerSecond(0.1).indices(100, 25) == [0]
    assert FramesPerSecond(1, most=3).indices(100, 25) == UniformFrames(3).indices(100, 25)
    assert FramesPerSecond(30).indices(5, 10) == [0, 1, 2, 3, 4]


def test_segment_centres_between_bounds() -> None:
    # 101 frames: segments of 25, centres 12.5 apart from their starts 0, 25, 50, 75.
    assert SegmentCentres(4).indices(101, 25) == [12, 37, 62, 87]
    # From frame 25 to 75: segments of 12.5, their starts rounded: 0, 12, 25, 38 (half to even).
    assert SegmentCentres(4).indices(101, 25, start=1.0, end=3.0) == [31, 43, 56, 69]
    assert SegmentCentres(2).indices(101, 25, start=2.0, end=99.0) == [62, 87]


@given(
    st.integers(1, 64), st.integers(1, 500), st.floats(1, 60), st.floats(0, 100), st.floats(0, 100)
)
def test_indices_ascend_within_the_video(
    count: int, total: int, rate: float, start: float, end: float
) -> None:
    for sampler in (UniformFrames(count), FramesPerSecond(count), SegmentCentres(count)):
        indices = sampler.indices(total, rate, start, end)
        assert indices
        assert indices == sorted(indices)
        assert 0 <= indices[0] <= indices[-1] < total
    assert len(SegmentCentres(count).indices(total, rate, start, end)) == count


def test_only_the_chosen_frames_are_read(tmp_path: Path) -> None:
    pytest.importorskip("av")
    write_video(tmp_path / "v.mp4", frames=12, rate=4)
    frames, timing = read_frames(tmp_path / "v.mp4", UniformFrames(3))
    assert timing == Timing((3, 6, 9), rate=4.0, total=12)
    assert brightness(frames) == [3, 6, 9]
    assert {(frame.mode, frame.size) for frame in frames} == {("RGB", (64, 48))}
    assert brightness(read_frames(tmp_path / "v.mp4", FramesPerSecond(1))[0]) == [0, 4, 8]
    bounded, timing = read_frames(tmp_path / "v.mp4", SegmentCentres(2), start=1.0, end=2.0)
    assert brightness(bounded) == [5, 7]  # frames 4 to 8: centres at 5 and 7


def test_frames_stand_for_the_part_that_they_are_taken_from() -> None:
    assert Timing((20, 40, 60, 80), 25, 100).span == 80  # one in 20
    assert Timing((5, 7), 4, 12).span == 4
    assert Timing((3,), 4, 12).span == Timing((3, 3), 4, 12).span == 12


def test_large_frames_are_reduced_to_the_limit(tmp_path: Path) -> None:
    pytest.importorskip("av")
    write_video(tmp_path / "v.mp4", frames=2, size=(128, 64))
    (frame, _), _ = read_frames(tmp_path / "v.mp4", UniformFrames(4), max_pixels=32 * 16)
    assert frame.size == (32, 16)


def test_one_large_frame_is_held_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("av")
    write_video(tmp_path / "v.mp4", frames=12)
    large: list[weakref.ref[Image.Image]] = []
    held = []

    def watched(frame: Image.Image, max_pixels: int) -> Image.Image:
        held.append(sum(known() is not None for known in large))
        large.append(weakref.ref(frame))
        return frame.resize((4, 4))

    monkeypatch.setattr(video, "_bounded", watched)
    frames, _ = read_frames(tmp_path / "v.mp4", UniformFrames(8))
    assert len(frames) == len(held) == 8
    assert max(held) <= 1  # the one before, until the loop lets go of it


def test_a_folder_of_frames_is_a_video_of_three_a_second(tmp_path: Path) -> None:
    for i in range(9):
        Image.new("RGB", (8, 8), (20 * i,) * 3).save(tmp_path / f"{i + 1:05d}.png")
    frames, timing = read_frames(tmp_path, UniformFrames(2))
    assert brightness(frames) == [3, 6]
    assert timing == Timing((3, 6), rate=3.0, total=9)
    frames, _ = read_frames(tmp_path, SegmentCentres(2), start=1.0, end=2.0)
    assert brightness(frames) == [3, 5]


def test_frames_of_a_folder_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for i in range(12):
        file = tmp_path / f"frame_{i}.{['png', 'webp'][i % 2]}"
        Image.new("RGB", (8, 8), (20 * i,) * 3).save(file, lossless=True)
    frames, _ = read_frames(tmp_path, UniformFrames(12))
    assert brightness(frames) == list(range(12))


def test_frames_of_a_folder_are_upright_and_on_white(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGBA", (8, 4)).save(tmp_path / "1.png", exif=exif)
    (frame,), _ = read_frames(tmp_path, UniformFrames(1))
    assert (frame.size, frame.getpixel((0, 0))) == ((4, 8), (255, 255, 255))


def cut(whole: Path, part: Path, seconds: float) -> None:
    """A copy whose frames before `seconds` are in the file and not shown: `ffmpeg -ss -c copy`."""
    import av

    options = {"avoid_negative_ts": "disabled"}
    with av.open(str(whole)) as source, av.open(str(part), "w", options=options) as target:
        before = source.streams.video[0]
        stream = target.add_stream_from_template(before)
        assert before.time_base is not None
        back = int(seconds / before.time_base)
        for packet in source.demux(before):
            if packet.dts is not None and packet.pts is not None:
                packet.pts, packet.dts, packet.stream = packet.pts - back, packet.dts - back, stream
                target.mux(packet)


def test_frames_that_a_cut_hides_do_not_count(tmp_path: Path) -> None:
    pytest.importorskip("av")
    write_video(tmp_path / "v.mp4", frames=12, rate=4)
    cut(tmp_path / "v.mp4", tmp_path / "cut.mp4", seconds=1.5)
    frames, timing = read_frames(tmp_path / "cut.mp4", UniformFrames(12))
    assert brightness(frames) == [6, 7, 8, 9, 10, 11]
    assert timing == Timing((0, 1, 2, 3, 4, 5), rate=4.0, total=6)
    frames, _ = read_frames(tmp_path / "cut.mp4", SegmentCentres(2), start=0.5, end=1.0)
    assert brightness(frames) == [8, 9]  # frames 2 to 4 of the cut: centres at 2 and 3


def test_a_video_is_upright_as_the_phone_was_held(tmp_path: Path) -> None:
    pytest.importorskip("av")
    write_video(tmp_path / "v.mp4", frames=2, size=(64, 48))
    content = bytearray((tmp_path / "v.mp4").read_bytes())
    matrix = content.index(b"tkhd") + 44
    assert content[matrix : matrix + 4] == (1 << 16).to_bytes(4)
    # A quarter turn clockwise, then back into sight: (x, y) -> (48 - y, x), in units of 2 ** -16.
    quarter = (0, 1 << 16, 0, -1 << 16, 0, 0, 48 << 16, 0, 1 << 30)
    content[matrix : matrix + 36] = struct.pack(">9i", *quarter)
    (tmp_path / "v.mp4").write_bytes(content)
    frames, _ = read_frames(tmp_path / "v.mp4", UniformFrames(2))
    assert [frame.size for frame in frames] == [(48, 64), (48, 64)]
    assert brightness(frames) == [0, 1]


def test_frames_that_cannot_be_decoded_are_said_and_not_filled_with_copies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("av")
    write_video(tmp_path / "v.mp4", frames=6, rate=4)
    measured = video._film_of_file

    def counted_twice(path: Path) -> video._Film:
        film = measured(path)
        return replace(film, total=2 * film.total)

    monkeypatch.setattr(video, "_film_of_file", counted_twice)
    with caplog.at_level(logging.WARNING, logger="ivcprune"):
        frames, timing = read_frames(tmp_path / "v.mp4", UniformFrames(3))
    assert brightness(frames) == [1, 3, 4]
    assert timing == Timing((1, 3, 4), rate=4.0, total=6)
    assert "has 12 frames, of which 6 can be decoded" in caplog.text


@pytest.mark.parametrize(("start", "end"), [(3.0, None), (60.0, 70.0), (2.0, 1.0), (np.nan, 1.0)])
def test_a_part_in_which_no_frame_is_is_refused(
    start: float, end: float | None, tmp_path: Path
) -> None:
    for i in range(9):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{i}.png")
    with pytest.raises(ValueError, match=r"the part in question, from .* s, is none of .* 3\.00 s"):
        read_frames(tmp_path, SegmentCentres(4), start, end)


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone\.mp4 does not exist: unpack"):
        read_frames(tmp_path / "gone.mp4", UniformFrames(1))
    with pytest.raises(ValueError, match="holds no frames"):
        read_frames(tmp_path, UniformFrames(1))


def test_a_damaged_video_is_an_error_of_its_own(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    (tmp_path / "v.mp4").write_bytes(b"no video")
    with pytest.raises(av.error.FFmpegError):
        read_frames(tmp_path / "v.mp4", UniformFrames(1))


def test_without_the_decoder_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "v.mp4").write_bytes(b"any")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'ivcprune\[video\]'"):
        read_frames(tmp_path / "v.mp4", UniformFrames(1))


@pytest.mark.parametrize(
    ("sampler", "value"), [(UniformFrames, 0), (SegmentCentres, 0), (FramesPerSecond, 0)]
)
def test_impossible_samplings_are_refused(sampler: type, value: int) -> None:
    with pytest.raises(ValueError, match=r"data\.frames\."):
        sampler(value)


@pytest.mark.parametrize("ending", ["mp4", "mkv", "avi"])
def test_a_variable_rate_is_that_of_the_frames_whatever_the_container_says(
    tmp_path: Path, ending: str
) -> None:
    """Seven frames over six seconds, of which AVI and Matroska say that 30 come a second."""
    av = pytest.importorskip("av")
    path = tmp_path / f"screen.{ending}"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=30)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for number, tick in enumerate((0, 1, 2, 3, 60, 120, 180)):
            pixels = np.full((64, 64, 3), 30 * number, np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = tick, Fraction(1, 30)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    frames, timing = read_frames(path, FramesPerSecond(2.0))
    assert (len(frames), timing.total) == (7, 7)
    assert 1.0 <= timing.rate <= 7 / 6
