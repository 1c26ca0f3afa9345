"""Scores one reply by the metric of its task, in two readings.

`read_reply` reads as a person does; its score is the headline. `published_reading` reads to the
letter of the published evaluation, which is what figures of a paper compare with. docs/scoring.md
has the rules of both.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping

from .anls import anls, read_anls
from .answers import exact_match, normalise, says_answer
from .boxes import Box, Size, iou, parse_box, published_box
from .letters import parse_letter
from .ocr import contains_answer, reads_answer
from .parsers import DEFAULT_PARSER, PARSERS, VERSIONED, WITHOUT_FINAL_STOP
from .readings import OPEN_ANSWER, UNREAD, Conventions, Reading, Scorer, Target
from .replies import final_part, short_answer
from .vqa import normalise_vqa, published_vqa_score, vqa_score
from .yes_no import parse_yes_no, published_yes_no

__all__ = [
    "OPEN_ANSWER",
    "PARSER_NAMES",
    "PUBLISHED_SCORERS",
    "SCORERS",
    "UNREAD",
    "Conventions",
    "Reading",
    "Target",
    "check_parser",
    "check_tasks",
    "published_reading",
    "read_reply",
    "score",
]

IOU_THRESHOLD = 0.5


def read_reply(sample: Target, prediction: str, conventions: Conventions) -> Reading:
    """What a person reads from `prediction`, the model's reply without prompt and special tokens.

    An empty reply, and one that never ends to think, is unread and wrong whatever is accepted.

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
    return _scored(SCORERS, sample, prediction, conventions, says=final_part)


def published_reading(sample: Target, prediction: str, conventions: Conventions) -> Reading:
    """What the published evaluation reads, to the letter; `parsed` and the score as `read_reply`.

    Two things differ from it: an empty reply is unread and wrong, also where the published code
    counts it as right, and so is an accepted answer that is empty.

    Raises:
        ValueError: unknown task, parser or `box_format`.
    """
    return _scored(PUBLISHED_SCORERS, sample, prediction, conventions, says=str.strip)


def _scored(
    scorers: Mapping[str, Scorer],
    sample: Target,
    prediction: str,
    conventions: Conventions,
    says: Callable[[str], str],
) -> Reading:
    check_parser(conventions.parser, [sample.task])
    if conventions.strip_final_stop:
        prediction = prediction.rstrip().rstrip(".")
    if sample.task != OPEN_ANSWER and not says(prediction):
        return UNREAD
    return scorers[sample.task](sample, prediction, conventions)


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


def _grounding(parse: Callable[[str, str, Size, Size], Box | None]) -> Scorer:
    def scored(sample: Target, prediction: str, conventions: Conventions) -> Reading:
        original_size = (sample.width, sample.height)
        box = parse(prediction, conventions.box_format, conventions.input_size, original_size)
        if box is None:
            return UNREAD
        # As published: where a sample has several true boxes, the first one counts.
        hit = iou(box, sample.boxes[0]) >= IOU_THRESHOLD
        return Reading(json.dumps([round(coordinate, 2) for coordinate in box]), float(hit))

    return scored


def _letter(sample: Target, prediction: str, conventions: Conventions) -> Reading:
    return _decided(sample, parse_letter(prediction, sample.choices))


def _published_letter(sample: Target, prediction: str, conventions: Conventions) -> Reading:
    parse = PARSERS[sample.task][conventions.parser]
    answer = sample.answers[0] if sample.answers else ""
    return _decided(sample, parse(prediction, sample.choices, answer))


def _yes_no(parse: Callable[[str], str | None]) -> Scorer:
    return lambda sample, prediction, conventions: _decided(sample, parse(prediction))


def _decided(sample: Target, parsed: str | None) -> Reading:
    return UNREAD if parsed is None else Reading(parsed, float(exact_match(parsed, sample.answers)))


def _vqa(sample: Target, prediction: str, conventions: Conventions) -> Reading:
    return _in_words(prediction, float(says_answer(prediction, sample.answers)))


def _published_vqa(sample: Target, prediction: str, conventions: Conventions) -> Reading:
    if conventions.parser == WITHOUT_FINAL_STOP:
        prediction = prediction.strip().removesuffix(".")
    right = bool(normalise(prediction)) and exact_match(prediction, sample.answers)
    return Reading(normalise(prediction), float(right))


def _annotators(sample: Target, prediction: str, conventions: Conventions) -> Reading:
    parsed = normalise_vqa(short_answer(prediction))
    return Reading(parsed, vqa_score(prediction, sample.answers))


def _published_annotators(sample: Target, prediction: str, conventions: Conventions) -> Reading:
    return Reading(normalise_vqa(prediction), published_vqa_score(prediction, sample.answers))


def _anls(sample: Target, prediction: str, conventions: Conventions) -> Reading:
    return _in_words(prediction, read_anls(prediction, sample.answers))


def _published_anls(sample: Target, prediction: str, conventions: Conventions) -> Reading:
    return Reading(normalise(prediction), anls(prediction, sample.answers))


def _ocr(sample: Target, prediction: str, conventions: Conventions) -> Reading:
    hit = reads_answer(prediction, sample.answers, sample.category)
    return Reading(normalise(final_part(prediction)), float(hit))


def _published_ocr(sample: Target, prediction: str, conventions: Conventions) -> Reading:
    hit = contains_answer(prediction, sample.answers, sample.category)
    return Reading(normalise(prediction), float(hit))


def _in_words(prediction: str, score: float) -> Reading:
    """Unread where nothing but marks is said, and none of them is the answer."""
    parsed = normalise(short_answer(prediction))
    return Reading(parsed or normalise(prediction), score) if parsed or score else UNREAD


def _open_answer(sample: Target, prediction: str, conventions: Conventions) -> Reading:
    return Reading(prediction.strip(), None, settled=False)


SCORERS: Mapping[str, Scorer] = {
    "anls": _anls,
    "grounding": _grounding(parse_box),
    "multiple_choice": _letter,
    "ocr_contains": _ocr,
    OPEN_ANSWER: _open_answer,
    "video_multiple_choice": _letter,
    "vqa": _vqa,
    "vqa_score": _annotators,
    "yes_no": _yes_no(parse_yes_no),
}
"""The metric of each task, as a person reads replies."""

PUBLISHED_SCORERS: Mapping[str, Scorer] = {
    "anls": _published_anls,
    "grounding": _grounding(published_box),
    "multiple_choice": _published_letter,
    "ocr_contains": _published_ocr,
    OPEN_ANSWER: _open_answer,
    "video_multiple_choice": _published_letter,
    "vqa": _published_vqa,
    "vqa_score": _published_annotators,
    "yes_no": _yes_no(published_yes_no),
}
"""The same to the letter of the published evaluation."""

PARSER_NAMES: dict[str, list[str]] = {
    task: sorted(PARSERS.get(task, VERSIONED)) for task in SCORERS
} | {"vqa": sorted([*VERSIONED, WITHOUT_FINAL_STOP])}
"""What `parser:` may name, by task."""
