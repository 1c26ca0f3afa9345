"""Scores one reply by the metric of its task."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from .anls import anls
from .answers import exact_match, normalise
from .boxes import Size, iou, parse_box
from .ocr import contains_answer
from .parsers import DEFAULT_PARSER, PARSERS, VERSIONED, WITHOUT_FINAL_STOP
from .vqa import normalise_vqa, vqa_score
from .yes_no import parse_yes_no

IOU_THRESHOLD = 0.5


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
        settled: False where the reply could not be read and a judge is to be asked. Without a
            judge the score stands.
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
        parser: how answers are read, one of `PARSER_NAMES[task]`.
        strip_final_stop: whether a reply is read without the full stop at its end.
    """

    box_format: str
    input_size: Size
    parser: str = DEFAULT_PARSER
    strip_final_stop: bool = False


def read_reply(sample: Target, prediction: str, conventions: Conventions) -> Reading:
    """What was read from `prediction`, the model's reply without prompt and special tokens.

    Returns:
        by task, `parsed` and the score
        - grounding: the box in pixels of the original image as JSON `[x1, y1, x2, y2]`, and 1.0
          where its IoU with the true box is at least 0.5;
        - multiple_choice, video_multiple_choice: the letter, and 1.0 where it is the answer's;
        - yes_no: "yes" or "no", and 1.0 where it is the answer;
        - vqa: the normalised answer, and 1.0 where it equals an accepted one;
        - vqa_score: the normalised answer, and its agreement with the annotators;
        - anls: the normalised answer, and its similarity to the nearest accepted one;
        - ocr_contains: the normalised answer, and 1.0 where it contains an accepted one;
        - open_answer: the reply, and None.

    Raises:
        ValueError: unknown task, parser or `box_format`.
    """
    check_parser(conventions.parser, [sample.task])
    if conventions.strip_final_stop:
        prediction = prediction.rstrip().rstrip(".")
    return SCORERS[sample.task](sample, prediction, conventions)


def score(
    sample: Target,
    prediction: str,
    box_format: str,
    input_size: Size,
    parser: str = DEFAULT_PARSER,
) -> tuple[str, float]:
    """`parsed` and `score` of `read_reply`, an unread reply scored as without a judge: 0."""
    reading = read_reply(sample, prediction, Conventions(box_format, input_size, parser))
    return reading.parsed, reading.score or 0.0


def check_tasks(tasks: Iterable[str]) -> None:
    """Raises ValueError unless there is a metric for every task."""
    if unknown := sorted(set(tasks) - set(SCORERS)):
        raise ValueError(
            f"no metric for the tasks {unknown}: the known tasks are {sorted(SCORERS)}"
        )


def check_parser(parser: str, tasks: Iterable[str]) -> None:
    """Raises ValueError unless there is a metric for every task, and `parser` can serve it."""
    tasks = set(tasks)
    check_tasks(tasks)
    for task in sorted(tasks):
        if parser not in PARSER_NAMES[task]:
            raise ValueError(
                f"data.parser is {parser!r}, which the task {task!r} does not know: "
                f"choose one of {PARSER_NAMES[task]}"
            )


def _score_grounding(sample: Target, prediction: str, conventions: Conventions) -> Reading:
    original_size = (sample.width, sample.height)
    box = parse_box(prediction, conventions.box_format, conventions.input_size, original_size)
    if box is None:
        return Reading("", 0.0)
    # As published: where a sample has several true boxes, the first one counts.
    hit = iou(box, sample.boxes[0]) >= IOU_THRESHOLD
    return Reading(json.dumps([round(coordinate, 2) for coordinate in box]), float(hit))


def _score_letter(sample: Target, prediction: str, conventions: Conventions) -> Reading:
    parse = PARSERS[sample.task][conventions.parser]
    answer = sample.answers[0] if sample.answers else ""
    return _decided(sample, parse(prediction, sample.choices, answer))


def _score_yes_no(sample: Target, prediction: str, conventions: Conventions) -> Reading:
    return _decided(sample, parse_yes_no(prediction))


def _decided(sample: Target, parsed: str | None) -> Reading:
    if parsed is None:
        return Reading("", 0.0, settled=False)
    return Reading(parsed, float(exact_match(parsed, sample.answers)))


def _score_vqa(sample: Target, prediction: str, conventions: Conventions) -> Reading:
    if conventions.parser == WITHOUT_FINAL_STOP:
        prediction = prediction.strip().removesuffix(".")
    return Reading(normalise(prediction), float(exact_match(prediction, sample.answers)))


def _score_annotators(sample: Target, prediction: str, conventions: Conventions) -> Reading:
    return Reading(normalise_vqa(prediction), vqa_score(prediction, sample.answers))


def _score_anls(sample: Target, prediction: str, conventions: Conventions) -> Reading:
    return Reading(normalise(prediction), anls(prediction, sample.answers))


def _score_ocr(sample: Target, prediction: str, conventions: Conventions) -> Reading:
    hit = contains_answer(prediction, sample.answers, sample.category)
    return Reading(normalise(prediction), float(hit))


def _score_open_answer(sample: Target, prediction: str, conventions: Conventions) -> Reading:
    return Reading(prediction.strip(), None, settled=False)


SCORERS: dict[str, Callable[[Target, str, Conventions], Reading]] = {
    "anls": _score_anls,
    "grounding": _score_grounding,
    "multiple_choice": _score_letter,
    "ocr_contains": _score_ocr,
    "open_answer": _score_open_answer,
    "video_multiple_choice": _score_letter,
    "vqa": _score_vqa,
    "vqa_score": _score_annotators,
    "yes_no": _score_yes_no,
}
"""The metric of each task."""


PARSER_NAMES: dict[str, list[str]] = {
    task: sorted(PARSERS.get(task, VERSIONED)) for task in SCORERS
} | {"vqa": sorted([*VERSIONED, WITHOUT_FINAL_STOP])}
"""What `parser:` may name, by task."""
