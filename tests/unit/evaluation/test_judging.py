"""Which replies a judge gets, and what its verdicts change in the results."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from ivcprune.data.sample import DEFAULTS, FEATURES
from ivcprune.evaluation.judging import settle
from ivcprune.evaluation.summary import judgement_in_words
from ivcprune.judge import Case, NoJudge, Verdict
from ivcprune.runs import results
from ivcprune.runs.directory import new_status
from ivcprune.runs.schema import Judgement, SampleRow


@dataclass
class Scripted:
    """Gives the verdicts it holds by the id of the case."""

    verdicts: dict[str, Verdict] = field(default_factory=dict)
    why_not: str | None = None
    asked: list[Case] = field(default_factory=list)
    name: str = "scripted"

    def obstacle(self) -> str | None:
        return self.why_not

    def settle(self, cases: Sequence[Case], cache_dir: Path) -> list[Verdict | None]:
        self.asked += cases
        return [self.verdicts.get(case.id) for case in cases]


def dataset(*samples: dict[str, Any]) -> Dataset:
    rows = [
        DEFAULTS | {"task": "multiple_choice", "question": "?", "group_id": s["id"]} | s
        for s in samples
    ]
    columns = {name: [row[name] for row in rows] for name in FEATURES}
    return Dataset.from_dict(columns, features=FEATURES)


def row(sample_id: str, score: float | None, settled: bool = True, **fields: Any) -> SampleRow:
    values = {"task": "multiple_choice", "rank": 0, "prediction": "hm"} | fields
    values |= {"score": score, "settled": settled}
    values = {f"published_{name}": values[name] for name in ("score", "settled")} | values
    return SampleRow(sample_id=sample_id, **values)


SAMPLES = dataset(
    {"id": "a", "answers": ["A"], "choices": ["cat", "dog"], "metadata": '{"x": 1}'},
    {"id": "b", "answers": ["B"]},
    {"id": "c"},
)
READ = row("a", 1.0, parsed="A")
UNREAD = row("a", 0.0, settled=False, prediction="the feline")
FAILED = row("c", None, settled=False, error="OSError: broken image")


def test_a_judge_gets_what_could_not_be_read_and_nothing_else(tmp_path: Path) -> None:
    judge = Scripted({"a": Verdict("A", 1.0)})
    rows = [UNREAD, row("b", 0.0), FAILED]
    judged, judgement = settle(rows, SAMPLES, judge, "mean", tmp_path)
    assert judge.asked == [
        Case("a", "multiple_choice", "?", ["cat", "dog"], ["A"], "the feline", {"x": 1})
    ]
    assert (judged[0].parsed, judged[0].score, judged[0].judge) == ("A", 1.0, "scripted")
    assert (judged[0].published_parsed, judged[0].published_score) == ("A", 1.0)
    assert judged[1:] == rows[1:]
    assert judgement == Judgement(name="scripted", cases=1, settled=1, obstacle=None)


def test_a_verdict_counts_in_the_reading_that_is_not_settled(tmp_path: Path) -> None:
    """The published evaluation asks its judge where its own rules read nothing."""
    read = row("a", 0.0, parsed="B", published_settled=False, published_score=0.0)
    judged, judgement = settle(
        [read], SAMPLES, Scripted({"a": Verdict("A", 1.0)}), "mean", tmp_path
    )
    assert (judged[0].parsed, judged[0].score) == ("B", 0.0)
    assert (judged[0].published_parsed, judged[0].published_score) == ("A", 1.0)
    assert (judgement["cases"], judgement["settled"]) == (1, 1)
    assert not judged[0].is_unread


@pytest.mark.parametrize(
    "unread",
    [
        row("a", 0.0, False, prediction=" \n"),
        row("a", 0.0, False, task="grounding", prediction="there"),
    ],
)
def test_an_empty_reply_and_a_task_without_rubric_are_no_cases(
    unread: SampleRow, tmp_path: Path
) -> None:
    judge = Scripted({"a": Verdict("A", 1.0)})
    judged, judgement = settle([unread], SAMPLES, judge, "mean", tmp_path)
    assert (judged, judge.asked, judgement["cases"]) == ([unread], [], 0)
    assert judged[0].is_unread


def test_a_judge_is_shown_the_reply_without_the_thoughts_before_it(tmp_path: Path) -> None:
    judge = Scripted()
    thought = row("a", 0.0, False, prediction="<think>A? B?</think>the feline")
    settle([thought], SAMPLES, judge, "mean", tmp_path)
    assert judge.asked[0].reply == "the feline"


def test_without_a_judge_the_cases_are_counted(tmp_path: Path) -> None:
    rows = [UNREAD, row("b", 0.0, settled=False), FAILED]
    judged, judgement = settle(rows, SAMPLES, NoJudge(), "mean", tmp_path)
    assert judged == rows
    assert judgement == Judgement(name="none", cases=2, settled=0, obstacle=None)
    figures = results.metrics(judged, new_status(), judgement=judgement)
    assert figures["judge"] == {"name": "none", "cases": 2, "settled": 0, "obstacle": None}
    assert figures["scores"]["multiple_choice"]["value"] == 0
    assert "2 replies could not be read" in judgement_in_words(figures["judge"])
    assert judgement_in_words(Judgement(name="none", cases=0, settled=0, obstacle=None)) == ""


def test_a_judge_that_cannot_be_asked_is_not(tmp_path: Path) -> None:
    judge = Scripted({"a": Verdict("A", 1.0)}, why_not="the variable KEY is not set")
    judged, judgement = settle([UNREAD], SAMPLES, judge, "mean", tmp_path)
    assert (judged, judge.asked) == ([UNREAD], [])
    assert judgement == Judgement(
        name="scripted", cases=1, settled=0, obstacle="the variable KEY is not set"
    )
    assert "the variable KEY is not set" in judgement_in_words(judgement)
    # No case, no trouble.
    assert settle([READ], SAMPLES, judge, "mean", tmp_path)[1]["cases"] == 0


def test_rotations_of_a_question_that_is_wrong_anyway_are_not_judged(tmp_path: Path) -> None:
    groups = {"1": "1", "1000001": "1", "2000001": "1", "2": "2", "1000002": "2"}
    samples = dataset(*({"id": name, "group_id": group} for name, group in groups.items()))
    rows = [
        # The first question: unread without rotation, wrong in one rotation, unread in another.
        *(row("1", 0.0, False), row("1000001", 0.0), row("2000001", 0.0, False)),
        *(row("2", 1.0), row("1000002", 0.0, False)),
    ]
    judge = Scripted({"1": Verdict("A", 1.0), "1000002": Verdict("B", 1.0)})
    judged, judgement = settle(rows, samples, judge, "circular", tmp_path)
    assert [case.id for case in judge.asked] == ["1", "1000002"]
    assert (judgement["cases"], judgement["settled"]) == (2, 2)
    benchmark = results.benchmark_scores("circular", samples, judged)
    assert benchmark is not None
    figures = results.metrics(judged, new_status(), benchmark, judgement)
    assert figures["scores"]["circular_accuracy"]["value"] == pytest.approx(50)
    assert figures["scores"]["vanilla_accuracy"]["value"] == pytest.approx(100)
    assert figures["headline"] == ["circular_accuracy"]
    json.dumps(figures, allow_nan=False)


def test_open_answers_are_scored_by_the_judge_alone(tmp_path: Path) -> None:
    samples = dataset(
        {"id": "1", "task": "open_answer", "category": "summary"},
        {"id": "2", "task": "open_answer", "category": "summary"},
    )
    rows = [row(name, None, False, task="open_answer") for name in ("1", "2")]
    judged, _ = settle(rows, samples, Scripted({"1": Verdict("{}", 0.6)}), "mean", tmp_path)
    benchmark = results.benchmark_scores("mlvu_generation", samples, judged)
    assert benchmark is not None
    assert benchmark["scores"]["mlvu_g_avg"]["value"] == pytest.approx(6)
    assert benchmark["scores"]["mlvu_g_avg"]["n"] == 1
    assert benchmark["units"] == {"mlvu_g_avg": "points from 2 to 10"}
    unjudged = results.benchmark_scores("mlvu_generation", samples, rows)
    assert unjudged is not None
    assert unjudged["scores"]["mlvu_g_avg"]["value"] is None


def test_scores_of_a_benchmark_stand_beside_those_of_its_task() -> None:
    samples = dataset(
        {"id": "1", "task": "yes_no", "answers": ["Yes"], "category": "OCR", "group_id": "x"},
        {"id": "2", "task": "yes_no", "answers": ["No"], "category": "OCR", "group_id": "x"},
    )
    rows = [
        row("1", 1.0, task="yes_no", parsed="yes", category="OCR"),
        row("2", 0.0, task="yes_no", parsed="yes", category="OCR"),
    ]
    benchmark = results.benchmark_scores("mme", samples, rows)
    figures = results.metrics(rows, new_status(), benchmark)
    assert figures["scores"]["yes_no"]["value"] == pytest.approx(50)
    assert figures["scores"]["mme"]["value"] == pytest.approx(50)
    assert set(figures["scores"]["mme"]) == {"value", "low", "high", "n"}
    assert figures["categories"]["mme"]["OCR"]["value"] == pytest.approx(50)
    assert "of 2800" in figures["units"]["mme"]
    assert results.benchmark_scores("mean", samples, rows) is None
    plain = results.metrics(rows, new_status())
    assert (plain["units"], plain["headline"]) == ({}, ["yes_no"])
    assert list(plain["scores"]) == ["yes_no"]
