"""From rows of a canonical dataset to the tensors of one model call."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import torch
from PIL.Image import Image as PILImage
from torch import Tensor
from transformers import ProcessorMixin

from ..models.base import Family
from .asked import asked_of
from .frames import FrameSampler, Timing
from .loops import ends_no_loop
from .pictures import open_picture
from .prompts import to_messages
from .sample import Sample
from .video import read_frames

Row = dict[str, Any]
"""One row of a canonical dataset whose images are still encoded."""


class UnusableRowError(ValueError):
    """The source could make no sample of a row; see `error` of `FEATURES`."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A sample that could not be turned into model inputs, and why."""

    sample_id: str
    task: str
    message: str


@dataclass(slots=True)
class Batch:
    """What one prediction step gets; B samples whose images could be read, perhaps none.

    Attributes:
        inputs: output of the processor, left-padded, B sequences; empty when B = 0.
        samples: the B samples, their images decoded as RGB.
        input_sizes: (width, height) in pixels of each sample's first image as the model sees it;
            (0, 0) for a sample without an image, or with a video.
        failures: the samples of this batch that were left out.
    """

    inputs: dict[str, Tensor] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    input_sizes: list[tuple[int, int]] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch with its inputs on `device`; pinned ones come while the CPU goes on."""
        # Towards a CPU a tensor could be read before it is there.
        overlap = torch.device(device).type == "cuda"
        return self._with_inputs(lambda tensor: tensor.to(device, non_blocking=overlap))

    def pin_memory(self) -> Batch:
        """The same batch in memory that a GPU copies from; a DataLoader calls it."""
        return self._with_inputs(Tensor.pin_memory)

    def _with_inputs(self, change: Callable[[Tensor], Tensor]) -> Batch:
        return replace(self, inputs={name: change(x) for name, x in self.inputs.items()})


@dataclass(frozen=True, slots=True)
class Collate:
    """Decodes, prompts and encodes rows; runs in the worker processes of a DataLoader.

    A video is given to the model as one where its processor takes videos, else as the images that
    are its frames.

    Attributes:
        frames: which frames of a video are shown; None where no sample has a video.
    """

    family: Family
    processor: ProcessorMixin
    prompts: Mapping[str, str]
    frames: FrameSampler | None = None

    @ends_no_loop
    def __call__(self, items: Iterable[list[Row]]) -> Batch:
        """One `Batch` of all rows of `items`; unreadable samples become failures."""
        samples: list[Sample] = []
        failures: list[Failure] = []
        for row in (row for item in items for row in item):
            try:
                samples.append(decode(row, self.frames))
            # Broken files raise OSError, SyntaxError, ValueError, struct.error, ...: PIL sets no
            # limit to it, and whichever it is, it is this sample's trouble alone.
            except Exception as error:
                failures.append(_failure(row["id"], row["task"], error))
        return self.encode(samples, failures)

    def encode(self, samples: list[Sample], failures: Sequence[Failure] = ()) -> Batch:
        """One `Batch` of decoded samples; what the processor refuses joins the `failures`."""
        failures = list(failures)
        try:
            inputs = self._encode(samples)
        except ValueError:
            samples, refused = self._without_refused(samples)
            failures += refused
            inputs = self._encode(samples)
        return Batch(inputs, samples, self._input_sizes(inputs, samples), failures)

    def _encode(self, samples: list[Sample]) -> dict[str, Tensor]:
        if not samples:
            return {}
        texts = [
            self.processor.apply_chat_template(
                self._messages(sample), add_generation_prompt=True, tokenize=False
            )
            for sample in samples
        ]
        images = [self._images(sample) for sample in samples]
        return dict(
            self.processor(
                text=texts,
                images=images if any(images) else None,
                **_videos([sample for sample in samples if self._is_video(sample)]),
                padding=True,
                padding_side="left",
                return_tensors="pt",
            )
        )

    def _is_video(self, sample: Sample) -> bool:
        """Whether the processor gets the frames of `sample` as a video."""
        return bool(sample.video) and getattr(self.processor, "video_processor", None) is not None

    def _images(self, sample: Sample) -> list[PILImage]:
        return [] if self._is_video(sample) else sample.images

    def _messages(self, sample: Sample) -> list[dict[str, Any]]:
        messages = to_messages(sample, self.prompts)
        return [_with_video(turn) for turn in messages] if self._is_video(sample) else messages

    def _without_refused(self, samples: list[Sample]) -> tuple[list[Sample], list[Failure]]:
        """Finds what the processor refuses, such as an image 300 times as wide as high."""
        accepted: list[Sample] = []
        refused: list[Failure] = []
        for sample in samples:
            try:
                self._encode([sample])
                accepted.append(sample)
            except ValueError as error:
                refused.append(_failure(sample.id, sample.task, error))
        return accepted, refused

    def _input_sizes(
        self, inputs: Mapping[str, Tensor], samples: list[Sample]
    ) -> list[tuple[int, int]]:
        images = [self._images(sample) for sample in samples]
        if not any(images):
            return [(0, 0)] * len(samples)
        of_images = iter(self.family.input_sizes(inputs, self.processor))
        of_samples = [list(islice(of_images, len(own))) for own in images]
        return [sizes[0] if sizes else (0, 0) for sizes in of_samples]


def decode(row: Row, sampler: FrameSampler | None = None) -> Sample:
    """The sample of a row, its images or the frames of its video decoded as RGB.

    Raises:
        UnusableRowError: the source could make no sample of it.
        OSError, ValueError, ...: an image or a video is missing or damaged.
    """
    if row["error"]:
        raise UnusableRowError(row["error"])
    asked = asked_of(row)
    images, timing = _frames(row, sampler) if row["video"] else (_images(row), None)
    if images:
        # The decoder applies the EXIF orientation: the columns may speak of the other one.
        row = row | {"images": images, "width": images[0].width, "height": images[0].height}
    return replace(Sample.from_row(row), timing=timing, asked=asked)


def _images(row: Row) -> list[PILImage]:
    return [open_picture(image) for image in row["images"]]


def _frames(row: Row, sampler: FrameSampler | None) -> tuple[list[PILImage], Timing]:
    """The frames of a row's video; its metadata may give the part in question, in seconds."""
    if sampler is None:
        raise ValueError("the sample has a video: data.frames must say which frames are shown")
    about = json.loads(row["metadata"] or "{}")
    start, end = (_seconds(about.get(name)) for name in ("start", "end"))
    return read_frames(row["video"], sampler, start, end)


def _seconds(bound: Any) -> float | None:
    """A bound of the part in question, which a csv gives as text; None where there is none."""
    return None if bound in (None, "") else float(bound)


def _videos(samples: list[Sample]) -> dict[str, Any]:
    """What a processor gets of samples with a video: the frames, and when they are shown."""
    if not samples:
        return {}
    timings = [sample.timing for sample in samples if sample.timing is not None]
    metadata = [
        {"fps": t.rate, "frames_indices": list(t.indices), "total_num_frames": t.span}
        for t in timings
    ]
    return {"videos": [sample.images for sample in samples], "video_metadata": metadata}


def _with_video(turn: dict[str, Any]) -> dict[str, Any]:
    """A turn of a conversation with one video in the place of its first image."""
    kinds = [part["type"] for part in turn["content"]]
    parts = [
        {"type": "video"} if part["type"] == "image" else part
        for i, part in enumerate(turn["content"])
        if part["type"] != "image" or "image" not in kinds[:i]
    ]
    return turn | {"content": parts}


def _failure(sample_id: str, task: str, error: Exception) -> Failure:
    return Failure(sample_id, task, f"{type(error).__name__}: {error}")
