"""What a row must hold to be asked, scored and kept; a row that does not is an error row."""

from __future__ import annotations

from collections.abc import Container, Mapping
from string import ascii_uppercase
from typing import Any

import pyarrow as pa

from ..metrics.scoring import SCORERS
from .prompts import CHOICE_TASKS
from .sample import FEATURES

Row = Mapping[str, Any]

_TYPES = {name: FEATURES.arrow_schema.field(name).type for name in FEATURES if name != "images"}


def check_askable(sample: Row, columns: Container[str], *, scored: bool) -> None:
    """Fails where a sample has no question, or would be asked without its image.

    Args:
        sample: a row of `FEATURES`, its images undecoded.
        columns: the roles that a column is named for.
        scored: its reply will be, so that its task must be one that replies are scored for.

    Raises:
        ValueError: says what is missing or cannot be.
    """
    if not sample["question"].strip():
        raise ValueError("the question is empty")
    for role, holds in (("image", sample["images"]), ("video", sample["video"])):
        if role in columns and not holds:
            raise ValueError(f"the {role} is missing")
    if scored and "task" in columns and sample["task"] not in SCORERS:
        raise ValueError(f"the task is {sample['task']!r}: known are {sorted(SCORERS)}")
    if sample["boxes"] and not (sample["images"] or sample["video"]):
        raise ValueError("there is a box and no image")
    if sample["task"] in CHOICE_TASKS and "choices" in columns and not any(sample["choices"]):
        raise ValueError("there are no options")


def check_answer(sample: Row, n_options: int) -> None:
    """Fails where no reply to a sample could be scored.

    Args:
        sample: a row of `FEATURES`, its images undecoded.
        n_options: letters that the options take, missing ones included.

    Raises:
        ValueError: says what is missing or cannot be.
    """
    task, answers = sample["task"], sample["answers"]
    if task == "grounding":
        x1, y1, x2, y2 = sample["boxes"][0] if sample["boxes"] else (0, 0, 0, 0)
        if not (x1 < x2 and y1 < y2):
            raise ValueError("there is no true box, or it has no area")
    # The scoring points of an open answer, in the metadata, can stand for it.
    elif not any(answer.strip() for answer in answers) and not (
        task == "open_answer" and sample["metadata"]
    ):
        raise ValueError("there is no answer")
    elif task in CHOICE_TASKS:
        letters = [*ascii_uppercase[: n_options or None]]
        if any(answer not in letters for answer in answers):
            raise ValueError(f"the answer {answers} is none of the letters A to {letters[-1]}")
    elif task == "yes_no" and any(a.strip().lower() not in ("yes", "no") for a in answers):
        raise ValueError(f"the answer {answers} is neither yes nor no")


def check_storable(row: Row) -> None:
    """Fails unless the cells of `row`, perhaps a part of `FEATURES`, fit into their columns.

    Raises:
        ValueError, TypeError, OverflowError: one does not, such as text that is no unicode.
    """
    for name, value in row.items():
        if name != "images":
            pa.array([value], type=_TYPES[name])
            continue
        for image in value:
            pa.array([image["path"]], type=pa.string())
            if not isinstance(image["bytes"], bytes | None):
                raise ValueError("the bytes of an image are none")
