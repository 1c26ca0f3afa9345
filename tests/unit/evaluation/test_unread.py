"""What a run says at its end of replies that nobody could read."""

from typing import Any

import pytest

from ivcprune.evaluation.unread import unread_warnings
from ivcprune.runs import results
from ivcprune.runs.directory import new_status
from ivcprune.runs.schema import SampleRow


def row(number: int, prediction: str, settled: bool = False, **fields: Any) -> SampleRow:
    score = float(settled)
    values = {"task": "grounding", "rank": 0, "score": score, "published_score": score} | fields
    return SampleRow(sample_id=str(number), prediction=prediction, settled=settled, **values)


@pytest.mark.parametrize(
    ("task", "prediction", "judge", "cause"),
    [
        ("grounding", "14 28 98 112", "none", "model.box_format=qwen3_vl"),
        ("vqa", "<think>Perhaps it is", "none", "a thinking checkpoint"),
        ("yes_no", "<think>Yes or no", "none", "raise model.max_new_tokens"),
        ("multiple_choice", "the feline", "none", "judge=gpt_4_1"),
        ("open_answer", "A man runs.", "none", "judge=gpt_4_1"),
        ("multiple_choice", "the feline", "gpt_4_1", "neither a rule nor the judge"),
        ("vqa", " \n", "none", "they are empty"),
    ],
)
def test_mostly_unread_replies_are_told_with_the_likely_cause(
    task: str, prediction: str, judge: str, cause: str
) -> None:
    rows = [row(0, prediction, task=task), row(1, prediction, task=task)]
    rows += [row(2, "read", settled=True, task=task), row(3, "", task=task, error="OSError")]
    (warning,) = unread_warnings(rows, "qwen3_vl", judge)
    assert warning.startswith(f"2 of 3 replies to {task} are UNREAD, for example ")
    assert " ".join(prediction.split()) in warning
    assert cause in warning


def test_half_of_the_replies_and_judged_ones_are_no_reason_to_warn() -> None:
    rows = [row(0, "x"), row(1, "[1, 2, 3, 4]", settled=True), row(2, "x", judge="gpt"), row(3, "")]
    assert unread_warnings(rows, "plain", "gpt") == []
    assert unread_warnings([], "plain", "none") == []


def test_a_long_reply_is_shortened() -> None:
    (warning,) = unread_warnings([row(0, "no box\n" * 50)], "plain", "none")
    assert len(warning) < 250


def test_metrics_hold_both_readings_and_count_what_is_unread() -> None:
    unread_as_published = {"published_score": 0.0, "published_settled": False}
    rows = [
        row(0, "**Yes**", settled=True, task="yes_no", parsed="yes", **unread_as_published),
        row(1, "hm", task="yes_no"),
        row(2, "hm", task="yes_no", judge="gpt", score=0.5),
        row(3, "[1, 2, 3, 4]", settled=True),
        row(4, "", task="yes_no", error="OSError", score=None, published_score=None),
    ]
    figures = results.metrics(rows, new_status())
    assert figures["unread"] == 1
    assert figures["unread_by_task"] == {"grounding": 0, "yes_no": 1}
    assert figures["scores"]["yes_no"]["value"] == pytest.approx(50)
    published = figures["published"]
    assert published["scores"]["yes_no"]["value"] == 0
    assert published["scores"]["grounding"]["value"] == 100
    assert published["categories"]["grounding"][""]["n"] == 1


def test_rows_that_are_older_than_the_published_reading_give_no_figures_of_it() -> None:
    rows = [row(0, "[1, 2, 3, 4]", settled=True), row(1, "x", published_score=None)]
    figures = results.metrics(rows, new_status())
    assert figures["published"] is None
    assert figures["scores"]["grounding"]["value"] == pytest.approx(50)
