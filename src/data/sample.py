"""The one canonical sample that every source maps to and everything downstream reads."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from datasets import Features, Image, List, Value
from PIL.Image import Image as PILImage

from .frames import Timing

FEATURES = Features(
    {
        "id": Value("string"),
        "group_id": Value("string"),
        "task": Value("string"),
        "images": List(Image()),
        "question": Value("string"),
        "answers": List(Value("string")),
        "boxes": List(List(Value("float32"))),
        "category": Value("string"),
        "width": Value("int32"),
        "height": Value("int32"),
        "choices": List(Value("string")),
        "hint": Value("string"),
        "metadata": Value("string"),
        "video": Value("string"),
        "error": Value("string"),
    }
)
"""Columns of every canonical `datasets.Dataset`; sources map their own columns to these.

`error` says why a row of the source is no sample, "" where it is one. Such a row keeps its place
and its id; no model sees it, and the results list it among the failed samples. Its `group_id` is ""
where it cannot be known what the row belongs to.
"""

DEFAULTS: dict[str, Any] = {
    "images": [],
    "answers": [],
    "boxes": [],
    "category": "",
    "width": 0,
    "height": 0,
    "choices": [],
    "hint": "",
    "metadata": "",
    "video": "",
    "error": "",
}
"""What a column holds where a benchmark has nothing to say."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One question about some images.

    Attributes:
        id: unique within the dataset; the key of resume and of paired statistics.
        task: which prompt template, parser and metric apply, e.g. "grounding" or "vqa".
        question: the referring expression (grounding) or the question, without any prompt text.
        answers: accepted answers, for multiple choice the letters; empty for grounding.
        boxes: annotated boxes `(x1, y1, x2, y2)`, pixels of the ORIGINAL image: the true ones in
            grounding, what the question is about elsewhere.
        group_id: what belongs together (the image, the rotations of a question); default `id`.
        category: reporting group, e.g. "superlative" or "count".
        width, height: of the first original image, in pixels.
        choices: texts of the options A, B, C, ...; "" for a letter that has none. Empty unless
            multiple choice.
        hint: what the benchmark tells beside the question.
        metadata: a JSON object with what the benchmark's metric needs; "" for nothing.
        video: path of a video, or of a folder of its frames; `images` are then its frames, once
            the sample is decoded.
        timing: when these frames stand in the video; no column, known once it is decoded.
        asked: see `ivcprune.data.asked`; no column either.
    """

    id: str
    task: str
    images: list[PILImage]
    question: str
    answers: list[str] = field(default_factory=list)
    boxes: list[list[float]] = field(default_factory=list)
    group_id: str = ""
    category: str = ""
    width: int = 0
    height: int = 0
    choices: list[str] = field(default_factory=list)
    hint: str = ""
    metadata: str = ""
    video: str = ""
    timing: Timing | None = None
    asked: str = ""

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Sample:
        """A row of a canonical dataset that is a sample, its images decoded."""
        return cls(**{name: row[name] for name in FEATURES if name != "error"})
