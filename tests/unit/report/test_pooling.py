"""One figure over the samples of several benchmarks, and what becomes of it in a report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conftest import write_run
from ivcprune.configuration.build import compose
from ivcprune.configuration.data_groups import data_groups, data_pools
from ivcprune.report.comparison import compare
from ivcprune.report.pooling import pool_scores, pooled_runs
from ivcprune.runs.read import Run, Score, load_run

POOLS = {"both": ["small", "large"]}


def run_on(folder: Path, data: str, policy: str, samples: int, accuracy: float) -> Run:
    run = write_run(folder / data, policy, accuracy=accuracy, samples=samples, errors=2)
    file = run.folder / "metrics.json"
    metrics = json.loads(file.read_text()) | {"data": data}
    file.write_text(json.dumps(metrics))
    return load_run(run.folder)


def test_scores_are_weighted_by_samples_with_an_interval() -> None:
    # 9 of 10 and 15 of 30: 24 of 40. Wilson: centre 0.5912, half width 0.1453.
    pooled = pool_scores([Score(90.0, 0, 0, 10), Score(50.0, 0, 0, 30), Score(None, None, None, 0)])
    assert (pooled.value, pooled.n) == (60.0, 40)
    assert (pooled.low, pooled.high) == pytest.approx((44.60, 73.65), abs=0.01)
    assert pool_scores([Score(None, None, None, 0)]) == Score(None, None, None, 0)


def test_a_pool_is_a_run_of_all_samples_where_every_member_has_one(tmp_path: Path) -> None:
    runs = [
        run_on(tmp_path, data, policy, samples, accuracy)
        for data, samples in (("small", 12), ("large", 40))
        for policy, accuracy in (("none", 0.9), ("fastv", 0.6))
    ]
    runs.append(run_on(tmp_path, "small", "ivc_prune", 12, 0.8))
    pooled = pooled_runs(runs, POOLS)
    assert sorted(run.policy for run in pooled) == ["fastv", "none"]
    for run in pooled:
        members = [r for r in runs if r.policy == run.policy]
        scores = [row["score"] for r in members for row in r.samples() if row["score"] is not None]
        assert (run.data, run.n, run.errors) == ("both", 52, 4)
        assert run.scores["both"].n == len(scores) == 48
        assert run.scores["both"].value == pytest.approx(100 * sum(scores) / 48)
        assert {row["task"] for row in run.samples()} == {"both"}
        assert len({row["sample_id"] for row in run.samples()}) == 52
    (comparison,) = compare(pooled)
    assert (comparison.data, comparison.tasks) == ("both", ("both",))
    fastv = next(entry for entry in comparison.entries if entry.run.policy == "fastv")
    cell = fastv.cells["both"]
    assert cell.difference is not None
    assert cell.score.value is not None
    assert comparison.vanilla is not None
    before = comparison.vanilla.cells["both"].score.value or 0.0
    shared = [r["score"] is not None for r in fastv.run.samples()]
    assert cell.difference.pairs == sum(shared)
    assert cell.difference.value == pytest.approx(cell.score.value - before)


def test_runs_on_other_subsets_are_not_put_together(tmp_path: Path) -> None:
    small = run_on(tmp_path, "small", "none", 12, 0.9)
    large = run_on(tmp_path, "large", "none", 40, 0.9)
    assert len(pooled_runs([small, large], POOLS)) == 1
    large.config["data"]["limit"] = 40
    assert pooled_runs([small, large], POOLS) == []


def test_the_pools_that_are_shipped_are_means_over_samples() -> None:
    assert data_pools() == {"gqa_ca": data_groups()["gqa_choose"]}
    for members in data_pools().values():
        assert {compose([f"data={name}"]).data.metrics for name in members} == {"mean"}
