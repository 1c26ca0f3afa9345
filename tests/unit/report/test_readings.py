"""Unread replies and the published reading in reports; runs that are older than both."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ivcprune.report.comparison import compare
from ivcprune.report.leave_out import Samples, leave_out
from ivcprune.report.paper.measured import Measurements
from ivcprune.report.paper.published import Cell, Column
from ivcprune.report.run_summary import summary
from ivcprune.report.table import notes
from ivcprune.runs.read import Run, load_run

MakeRun = Callable[..., Run]


def with_readings(run: Run, grounding: float, unread: int = 3) -> Run:
    """The run with another published score of grounding, and rows that this reading lost."""
    path = run.folder / "metrics.json"
    metrics: dict[str, Any] = json.loads(path.read_text())
    scores = {name: dict(score) for name, score in metrics["scores"].items()}
    scores["grounding"]["value"] = grounding
    metrics |= {"published": {"scores": scores, "categories": {}}, "unread": unread}
    path.write_text(json.dumps(metrics))
    rows = [
        row | {"published_score": 0.0, "published_parsed": "", "settled": i >= unread, "judge": ""}
        for i, row in enumerate(run.samples())
    ]
    pq.write_table(pa.Table.from_pylist(rows), run.folder / "samples.parquet")
    return load_run(run.folder)


def test_notes_tell_unread_replies_and_readings_that_differ(make_run: MakeRun) -> None:
    run = make_run("fastv", accuracy=1.0)
    (comparison,) = compare([with_readings(run, grounding=98.9)])
    assert notes(comparison) == [
        "fastv: 3 of 40 replies UNREAD",
        "fastv, grounding: 100.0 as a person reads the replies, 98.9 to the letter of the "
        "published evaluation",
    ]
    (comparison,) = compare([with_readings(run, grounding=99.1, unread=0)])
    assert notes(comparison) == []


def test_tables_of_the_paper_take_the_published_reading(make_run: MakeRun) -> None:
    runs = [with_readings(make_run(name, accuracy=1.0), 40.0) for name in ("none", "fastv")]
    column = Column("grounding", "grounding", "", ("scenes",))
    read = Measurements(runs).figure(column, "tiny", "fastv")
    published = Measurements([run.as_published() for run in runs])
    figure = published.figure(column, "tiny", "fastv")
    assert read is not None
    assert figure is not None
    assert (read.value, figure.value) == (100.0, 70.0)  # mean of grounding and vqa
    rows = published.samples(Cell("tiny", "scenes", "fastv"))
    assert {(row["score"], row["parsed"]) for row in rows} == {(0.0, "")}


def test_a_run_that_is_older_than_the_readings_is_still_read(make_run: MakeRun) -> None:
    run = make_run("fastv")
    assert (run.published, run.unread) == (None, None)
    assert run.as_published() is run
    assert notes(compare([run])[0]) == []
    assert summary(run)["unread"] is None


def test_samples_are_left_out_of_both_readings(make_run: MakeRun) -> None:
    run = with_readings(make_run("fastv", accuracy=1.0), 40.0)
    first = run.samples()[0]["sample_id"]
    rest = leave_out(run, Samples("scenes", frozenset([first])))
    assert (rest.unread, rest.scores["grounding"].value) == (2, 100.0)
    assert rest.as_published().scores["grounding"] == replace(
        rest.as_published().scores["grounding"], value=0.0, n=19
    )
    assert {row["score"] for row in rest.as_published().samples()} == {0.0}
    assert summary(run)["published/grounding"] == 40.0
