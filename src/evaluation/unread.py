"""What a run says at its end of replies that nobody could read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from ..judge.rubrics import RUBRICS
from ..metrics.replies import is_still_thinking
from ..metrics.scoring import OPEN_ANSWER
from ..runs.schema import SampleRow

MOSTLY = 0.5
"""From which share of unread replies on a task's score says little of the model."""

_SHOWN = 60


def unread_warnings(rows: Sequence[SampleRow], box_format: str, judge: str) -> list[str]:
    """A sentence for each task most of whose replies are unread: the likely cause, a way out.

    Args:
        box_format: `model.box_format`.
        judge: name of the judge, "none" where nobody was asked.
    """
    by_task: dict[str, list[SampleRow]] = defaultdict(list)
    for row in rows:
        if row.error is None:
            by_task[row.task].append(row)
    warnings = []
    for task, answered in sorted(by_task.items()):
        unread = [row for row in answered if row.is_unread]
        if len(unread) > MOSTLY * len(answered):
            example, cause = _shortened(unread[0].prediction), _cause(unread, box_format, judge)
            warnings.append(
                f"{len(unread)} of {len(answered)} replies to {task} are UNREAD, for example "
                f"{example}: {cause}"
            )
    return warnings


def _cause(unread: Sequence[SampleRow], box_format: str, judge: str) -> str:
    task, half = unread[0].task, len(unread) / 2
    if sum(is_still_thinking(row.prediction) for row in unread) > half:
        return (
            "a thinking checkpoint does not come to its answer: raise model.max_new_tokens, or "
            "choose a checkpoint that answers at once"
        )
    if sum(not row.prediction.strip() for row in unread) > half:
        return "they are empty: look at model.chat_template, model.prompts and model.max_new_tokens"
    if task == "grounding":
        return (
            f"the checkpoint seems not to write boxes as model.box_format={box_format} says: "
            "choose the format of its family"
        )
    if task in RUBRICS and judge == "none":
        reader = "only a judge scores them" if task == OPEN_ANSWER else "no rule reads them"
        return f"{reader}, and there is none: set one, judge=gpt_4_1 for example"
    return "neither a rule nor the judge reads them: look at the replies in samples.parquet"


def _shortened(reply: str) -> str:
    text = " ".join(reply.split())
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")
