"""The table on the terminal at the end of a run."""

from typing import Any

import pytest

from ivcprune.evaluation.summary import print_summary

SCORE = {"value": 62.5, "low": 60.0, "high": 65.0, "n": 8}
METRICS: dict[str, Any] = {
    "policy": "ivc_prune",
    "model": "tiny",
    "data": "mme",
    "n": 8,
    "average_tokens": 0.5,
    "kv_bytes_per_sample": 2048.0,
    "samples_per_second": 3.0,
    "scores": {
        "yes_no": SCORE,
        "mme": {"value": 2310.64, "low": 2250.0, "high": 2370.0, "n": 8},
        "mme_perception": {"value": None, "low": None, "high": None, "n": 0},
    },
    "headline": ["mme"],
    "judge": {"name": "none", "cases": 3, "settled": 0, "obstacle": None},
    "unread": 2,
    "published": {"scores": {"yes_no": {**SCORE, "value": 61.6}, "mme": {**SCORE, "value": 2290}}},
}


def test_the_headline_stands_in_the_table_and_the_rest_below(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_summary(METRICS)
    table, _, below = capsys.readouterr().out.partition("yes_no 62.5 (60.0\N{EN DASH}65.0)")
    assert "2310.6 (2250.0\N{EN DASH}2370.0)" in table
    assert "62.5" not in table
    assert "mme_perception \N{EN DASH} (\N{EN DASH})" in below
    assert "unread" in table
    assert "mme: 2310.6 as a person reads the replies, 2290.0 to the letter of the publ" in below
    assert "yes_no:" not in below  # less than a point
    assert "3 replies could not be read by exact rules: judge=none settled 0; 3 count" in below


def test_tasks_without_a_metric_of_a_benchmark_are_the_table(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_summary(METRICS | {"scores": {"vqa": SCORE}, "headline": ["vqa"], "judge": None})
    out = capsys.readouterr().out
    assert "62.5 (60.0\N{EN DASH}65.0)" in out
    assert "replies" not in out
