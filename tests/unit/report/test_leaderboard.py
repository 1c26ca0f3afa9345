"""Rows of the leaderboard: who is compared with whom, who is beaten, and what the page shows."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ivcprune.report.leaderboard.page import Absent, cells_of, columns_of, grouped, sort_keys, write
from ivcprune.report.leaderboard.plot import draw
from ivcprune.report.leaderboard.rows import Speed, rows_of, speeds_of
from ivcprune.runs.read import Run, Score


def run_of(folder: Path, policy: str, asked: float | None, average: float, right: list[int]) -> Run:
    """A run of four questions, of which these numbers were answered right."""
    path = folder / f"{policy}-{asked}".replace(" ", "")
    path.mkdir()
    rows = [
        {"sample_id": str(i), "task": "vqa", "score": float(i in right), "parsed": ""}
        for i in range(4)
    ]
    pq.write_table(pa.Table.from_pylist(rows), path / "samples.parquet")
    value = 25.0 * len(right)
    return Run(
        folder=path,
        policy=policy,
        model="tiny",
        data="scenes",
        n=4,
        errors=0,
        average_tokens=average,
        kv_bytes=1024.0,
        scores={"vqa": Score(value, 0.0, 100.0, 4)},
        config={"policy": {"average_tokens": asked}},
        environment={},
    )


@pytest.fixture
def runs(tmp_path: Path) -> list[Run]:
    return [
        run_of(tmp_path, "none", None, 1.0, [0, 1, 2, 3]),
        run_of(tmp_path, "fastv", 0.5, 0.5, [0]),
        run_of(tmp_path, "fastv + IVC", 0.5, 0.5, [0, 1, 2]),
        run_of(tmp_path, "fastv", 0.25, 0.25, []),
        run_of(tmp_path, "pdrop", 0.5, 0.497, [0, 1]),
        run_of(tmp_path, "pdrop", None, 0.6, [0, 1, 2, 3]),  # at no share: left out
    ]


SPEEDS = {("fastv", 0.5): Speed(1.6, 1.5, 0.01), ("fastv + IVC", 0.5): Speed(1.6, 1.4, 0.02)}


class TestRows:
    def test_order_and_names(self, runs):
        rows = rows_of(runs, [0.5, 0.25], {})
        labels = [(row.label, row.asked) for row in rows]
        assert labels == [
            ("none", None),
            ("fastv + IVC", 0.5),
            ("pdrop", 0.5),
            ("fastv", 0.5),
            ("fastv", 0.25),
        ]
        assert [(row.method, row.ivc) for row in rows[:3]] == [
            ("none", False),
            ("fastv", True),
            ("pdrop", False),
        ]

    def test_differences_are_paired_with_the_same_budget(self, runs):
        rows = {(row.label, row.asked): row for row in rows_of(runs, [0.5, 0.25], {})}
        ours = rows["fastv + IVC", 0.5]
        assert ours.to_vanilla.value == pytest.approx(-25)
        assert ours.to_plain.value == pytest.approx(50)
        assert rows["fastv", 0.5].to_plain is None
        assert rows["none", None].to_vanilla is None

    def test_who_is_not_dominated(self, runs):
        """49.7 and 50.0 % are one budget, so that only the best at it stays."""
        rows = rows_of(runs, [0.5, 0.25], SPEEDS)
        best = {(row.label, row.asked) for row in rows if row.best_by_tokens}
        assert best == {("none", None), ("fastv + IVC", 0.5), ("fastv", 0.25)}
        by_prefill = {(row.label, row.asked) for row in rows if row.best_by_prefill}
        assert by_prefill == {("fastv + IVC", 0.5), ("fastv", 0.5)}

    def test_without_vanilla(self, runs):
        rows = rows_of(runs[1:], [0.5], {})
        assert [row.to_vanilla for row in rows] == [None] * 3


def test_speeds_are_told_by_policy_and_share():
    measured = {
        "policy": "fastv + IVC",
        "asked_average_tokens": 0.33,
        "limit": 2.0,
        "speed_up": {"language_ms": {"median": 1.8}},
        "overhead_of_vanilla_prefill": {"median": 0.01},
    }
    vanilla = measured | {"policy": "none", "asked_average_tokens": None}
    found = speeds_of({"cells": [{"policies": {"a": vanilla, "b": measured}}]})
    assert found == {("fastv + IVC", 0.33): Speed(2.0, 1.8, 0.01)}


def test_a_method_looks_the_same_in_both_panels_and_is_named_once(runs):
    """Vanilla is in the first panel alone, and a method may be."""
    speeds = SPEEDS | {("pdrop", 0.5): Speed(1.5, 1.4, 0.01)}
    figure = draw(rows_of(runs, [0.5, 0.25], speeds))
    looks = [
        {line.get_label(): (line.get_color(), line.get_marker()) for line in axes.lines[:-1]}
        for axes in figure.axes
    ]
    assert set(looks[0]) == {"none", "fastv", "pdrop"}
    assert looks[1] == {name: looks[0][name] for name in ("fastv", "pdrop")}
    assert len(set(looks[0].values())) == 3
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["fastv", "none", "pdrop"]


class TestPage:
    def test_every_row_has_a_cell_and_a_key_in_every_column(self, runs):
        rows = rows_of(runs, [0.5, 0.25], SPEEDS)
        for row in rows:
            assert len(cells_of(row, rows)) == len(sort_keys(row, rows)) == len(columns_of(rows))
        text = dict(zip(columns_of(rows), cells_of(rows[1], rows), strict=True))
        assert text["Method"] == "fastv + IVC"
        assert text["Prefill"] == "1.40x"
        assert text["Selection"] == "2.0 %"
        assert text["Not dominated"] == "tokens, prefill"

    def test_reasons_are_told_once(self):
        absent = [
            Absent(label, asked, "too deep")
            for label in ("pdrop", "pdrop + IVC")
            for asked in (0.33, 0.25)
        ]
        found = grouped([*absent, Absent("dycoke", 0.25, "no budget")])
        assert found == [
            ("pdrop, pdrop + IVC at 33.0 %, 25.0 %", "too deep"),
            ("dycoke at 25.0 %", "no budget"),
        ]

    def test_files(self, runs, tmp_path):
        rows = rows_of(runs, [0.5, 0.25], SPEEDS)
        absent = [Absent("pdrop", 0.25, "the layers <before> it alone are more")]
        paths = write(tmp_path, "Title", rows, absent, {"Accuracy": "tiny on scenes"})
        page, table, data, picture = paths
        html = page.read_text("utf-8")
        assert html.count("<tr") == 1 + len(rows)
        assert "the layers &lt;before&gt; it alone are more" in html
        assert not re.search(r"(src|href)=.?https?:", html)
        assert "- pdrop at 25.0 %: the layers" in table.read_text("utf-8")
        content = json.loads(data.read_text("utf-8"))
        assert content["rows"][1]["to_plain"]["value"] == 50
        assert content["absent"][0]["asked"] == 0.25
        assert picture.read_bytes().startswith(b"\x89PNG")
