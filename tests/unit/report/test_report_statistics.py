"""Paired differences and the grouping, ranking and labelling of runs."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ivcprune.report.comparison import compare
from ivcprune.report.paired import mean_difference, paired_differences
from ivcprune.runs.read import Run, load_run

MakeRun = Callable[..., Run]


def test_difference_follows_bonett_and_price() -> None:
    # 8 pairs won, 2 lost, 90 equal: p12 = 9/102, p21 = 3/102.
    difference = mean_difference([[1.0] * 8 + [-1.0] * 2 + [0.0] * 90])
    p12, p21 = 9 / 102, 3 / 102
    half = 1.959964 * math.sqrt((p12 + p21 - (p12 - p21) ** 2) / 102)
    assert difference.value == pytest.approx(6.0)
    assert difference.low == pytest.approx(100 * (p12 - p21 - half), abs=1e-4)
    assert difference.high == pytest.approx(100 * (p12 - p21 + half), abs=1e-4)
    assert difference.pairs == 100


def test_equal_runs_differ_by_zero_with_honest_width() -> None:
    difference = mean_difference([[0.0] * 100])
    assert difference.value == 0.0
    assert difference.low < 0 < difference.high
    assert not difference.significant


def test_tasks_count_equally_whatever_their_size() -> None:
    difference = mean_difference([[1.0] * 10, [0.0] * 1000])
    assert difference.value == pytest.approx(50.0)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=50))
def test_interval_holds_the_mean_and_stays_in_range(values: list[float]) -> None:
    difference = mean_difference([values])
    assert -100 <= difference.low <= difference.value + 1e-9
    assert difference.value - 1e-9 <= difference.high <= 100


def test_pairs_only_samples_that_both_runs_scored() -> None:
    def row(name: str, score: float | None) -> dict[str, object]:
        return {"sample_id": name, "task": "vqa", "score": score}

    rows = [row("a", 1.0), row("b", None), row("c", 0.0), row("d", 1.0)]
    baseline = [row("a", 0.0), row("b", 1.0), row("c", None)]
    assert paired_differences(rows, baseline) == {"vqa": [1.0]}


def test_compares_with_vanilla_and_puts_it_first(make_run: MakeRun) -> None:
    (comparison,) = compare(
        [make_run("random", accuracy=0.3), make_run("none", accuracy=1.0), make_run("fastv")]
    )
    assert [entry.label for entry in comparison.entries] == ["none", "fastv", "random"]
    vanilla, fastv, random = comparison.entries
    assert vanilla.difference is None
    assert vanilla.average == pytest.approx(100)
    expected = random.run.scores["vqa"].value
    assert random.cells["vqa"].relative == pytest.approx(expected)
    assert random.kv_relative == pytest.approx(50)
    assert random.difference is not None
    assert random.difference.significant
    means = [cell.score.value - 100 for cell in random.cells.values()]
    assert random.difference.value == pytest.approx(sum(means) / 2)
    assert (fastv.average_rank, random.average_rank, vanilla.average_rank) == (1, 2, None)


def test_without_vanilla_nothing_is_relative(make_run: MakeRun) -> None:
    (comparison,) = compare([make_run("fastv"), make_run("pdrop")])
    assert comparison.vanilla is None
    assert all(entry.average is None and entry.difference is None for entry in comparison.entries)


def test_other_data_limits_are_never_compared(make_run: MakeRun) -> None:
    runs = [make_run("none", limit=10), make_run("fastv", limit=10), make_run("fastv", limit=20)]
    comparisons = compare(runs)
    sizes = {comparison.setting: len(comparison.entries) for comparison in comparisons}
    assert sizes == {
        "split=test, limit=10, policy.average_tokens=0.5": 2,
        "split=test, limit=20, policy.average_tokens=0.5": 1,
    }


def test_other_weights_are_never_compared(make_run: MakeRun) -> None:
    runs = [make_run("none"), make_run("fastv")]
    (runs[0].folder / "env.json").write_text(json.dumps({"weights": "0123456789abcdef"}))
    comparisons = compare([load_run(run.folder) for run in runs])
    assert sorted(comparison.setting for comparison in comparisons) == [
        "split=test, policy.average_tokens=0.5",
        "split=test, weights=01234567",
    ]


def test_runs_of_one_policy_are_told_apart(make_run: MakeRun) -> None:
    runs = [make_run("fastv", share=0.5), make_run("fastv", share=0.25), make_run("random")]
    (comparison,) = compare(runs)
    assert {entry.label for entry in comparison.entries} == {
        "fastv (average_tokens=0.5)",
        "fastv (average_tokens=0.25)",
        "random",
    }


def test_equal_scores_share_a_rank(make_run: MakeRun) -> None:
    runs = [make_run(name, accuracy=1.0) for name in ("fastv", "pdrop")]
    (comparison,) = compare([*runs, make_run("random", accuracy=0.0)])
    assert [entry.cells["vqa"].rank for entry in comparison.entries] == [1, 1, 2]


def test_a_damaged_run_is_named(make_run: MakeRun) -> None:
    run = make_run("fastv")
    (run.folder / "metrics.json").write_text('{"policy": "fastv"')
    with pytest.raises(ValueError, match=r"metrics\.json is not a valid metrics file"):
        load_run(run.folder)
