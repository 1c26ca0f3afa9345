"""Scores one reply by the metric of its task."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from .answers import exact_match, normalise
from .boxes import Size, iou, parse_box

IOU_THRESHOLD = 0.5


class Target(Protocol):
    """What scoring reads of a sample; `ivcprune.data.sample.Sample` is one."""

    @property
    def task(self) -> str: ...
    @property
    def answers(self) -> Sequence[str]: ...
    @property
    def boxes(self) -> Sequence[Sequence[float]]: ...
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...


def score(sample: Target, prediction: str, box_format: str, input_size: Size) -> tuple[str, float]:
    """What was read from `prediction`, and its score in [0, 1].

    Args:
        sample: the true answers or boxes.
        prediction: the model's reply, without prompt and special tokens.
        box_format: how the model writes boxes; see `ivcprune.metrics.boxes.BOX_FORMATS`.
        input_size: (width, height) of the first image as the model saw it.

    Returns:
        grounding: the box in pixels of the original image as JSON `[x1, y1, x2, y2]` ("" where none
        was found), and 1.0 where its IoU with the true box is at least 0.5;
        vqa: the normalised answer, and 1.0 where it equals an accepted one.

    Raises:
        ValueError: unknown task or `box_format`.
    """
    check_tasks([sample.task])
    return SCORERS[sample.task](sample, prediction, box_format, input_size)


def check_tasks(tasks: Iterable[str]) -> None:
    """Raises ValueError unless there is a metric for every task."""
    if unknown := sorted(set(tasks) - set(SCORERS)):
        raise ValueError(
            f"no metric for the tasks {unknown}: the known tasks are {sorted(SCORERS)}"
        )


def _score_grounding(
    sample: Target, prediction: str, box_format: str, input_size: Size
) -> tuple[str, float]:
    box = parse_box(prediction, box_format, input_size, (sample.width, sample.height))
    if box is None:
        return "", 0.0
    # As published: where a sample has several true boxes, the first one counts.
    hit = iou(box, sample.boxes[0]) >= IOU_THRESHOLD
    return json.dumps([round(coordinate, 2) for coordinate in box]), float(hit)


def _score_vqa(
    sample: Target, prediction: str, box_format: str, input_size: Size
) -> tuple[str, float]:
    return normalise(prediction), float(exact_match(prediction, sample.answers))


SCORERS: dict[str, Callable[[Target, str, str, Size], tuple[str, float]]] = {
    "grounding": _score_grounding,
    "vqa": _score_vqa,
}
"""The metric of each task."""
