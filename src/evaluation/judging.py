"""Has a judge settle what a reading could not, after all samples are predicted.

The published evaluation asks its judge wherever its own rules read nothing, a person's reading or
not: a verdict counts in each reading that is not settled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from datasets import Dataset

from ..judge import Case, Judge, Verdict
from ..judge.rubrics import RUBRICS
from ..metrics.replies import final_part
from ..metrics.scoring import OPEN_ANSWER
from ..runs.schema import Judgement, SampleRow

COLUMNS = ["id", "group_id", "question", "choices", "answers", "metadata"]
CIRCULAR = "circular"


def settle(
    rows: Sequence[SampleRow], dataset: Dataset, judge: Judge, metrics: str, cache_dir: Path
) -> tuple[list[SampleRow], Judgement]:
    """The rows with the judge's verdicts, and how many there are.

    What the judge said is kept under `cache_dir`: judging again asks only for what is missing.

    Args:
        dataset: the canonical samples of all rows.
        metrics: `data.metrics`; under "circular" a question that one rotation got wrong is wrong,
            whatever a judge says of other rotations.
    """
    samples = {sample["id"]: sample for sample in dataset.select_columns(COLUMNS)}
    open_rows = [row for row in rows if _can_be_judged(row)]
    if metrics == CIRCULAR:
        open_rows = _that_matter(open_rows, rows, samples)
    obstacle = judge.obstacle() if open_rows else None
    verdicts: list[Verdict | None] = [None] * len(open_rows)
    if obstacle is None:
        cases = [_case(row, samples[row.sample_id]) for row in open_rows]
        verdicts = judge.settle(cases, cache_dir)
    decided = {
        row.sample_id: _judged(row, verdict, judge.name)
        for row, verdict in zip(open_rows, verdicts, strict=True)
        if verdict is not None
    }
    judgement: Judgement = {
        "name": judge.name,
        "cases": len(open_rows),
        "settled": len(decided),
        "obstacle": obstacle,
    }
    return [decided.get(row.sample_id, row) for row in rows], judgement


def _can_be_judged(row: SampleRow) -> bool:
    """Whether a reading left it to a judge; of an empty reply, marks alone are to be had."""
    is_open = not (row.settled and row.published_settled)
    says_something = row.task == OPEN_ANSWER or bool(row.prediction.strip())
    return is_open and row.error is None and row.task in RUBRICS and says_something


def _judged(row: SampleRow, verdict: Verdict, judge: str) -> SampleRow:
    """The row with the verdict in the readings that are not settled."""
    if not row.settled:
        row = replace(row, parsed=verdict.parsed, score=verdict.score)
    if not row.published_settled:
        row = replace(row, published_parsed=verdict.parsed, published_score=verdict.score)
    return replace(row, judge=judge)


def _that_matter(
    open_rows: Sequence[SampleRow],
    rows: Sequence[SampleRow],
    samples: Mapping[str, Mapping[str, Any]],
) -> list[SampleRow]:
    """Without the rotations of questions that another rotation got wrong for certain.

    The unrotated question is kept: the accuracy without rotations depends on it.
    """
    group_of = {row.sample_id: samples[row.sample_id]["group_id"] for row in rows}
    readings = (rows, [row.as_published() for row in rows])
    wrong = [
        {group_of[row.sample_id] for row in reading if row.settled and row.score == 0.0}
        for reading in readings
    ]

    def matters(row: SampleRow) -> bool:
        group = group_of[row.sample_id]
        is_open = (not row.settled, not row.published_settled)
        undecided = (o and group not in groups for o, groups in zip(is_open, wrong, strict=True))
        return group == row.sample_id or any(undecided)

    return [row for row in open_rows if matters(row)]


def _case(row: SampleRow, sample: Mapping[str, Any]) -> Case:
    return Case(
        id=row.sample_id,
        task=row.task,
        question=sample["question"],
        choices=sample["choices"],
        answers=sample["answers"],
        reply=final_part(row.prediction) or row.prediction,
        metadata=json.loads(sample["metadata"] or "{}"),
    )
