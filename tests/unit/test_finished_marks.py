"""A mark says that nothing is left to compute only while nothing that counts has changed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from ivcprune.runs.finished import FOLDER, mark, marked, states_of


def cfg_of(folder: Path, policy: str = "fastv", seed: int = 0) -> DictConfig:
    paths = {"cache_dir": str(folder / "cache")}
    return OmegaConf.create({"policy": {"name": policy}, "seed": seed, "paths": paths})


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run with one rank's rows, and beside the experiment the weights and the data."""
    folder = tmp_path / "experiment" / "fastv-tiny-scenes-12345678"
    (folder / "samples").mkdir(parents=True)
    for name in ("status.json", "metrics.json", "samples.parquet", "samples/rank00.jsonl"):
        (folder / name).write_text(name)
    for name in ("weights", "data"):
        (tmp_path / name).write_text(name)
    inputs = states_of([tmp_path / "weights", tmp_path / "data"])
    mark(folder.parent, cfg_of(tmp_path), folder, inputs)
    return folder


def test_the_same_command_has_nothing_left(run: Path) -> None:
    assert marked(run.parent, cfg_of(run.parents[1])) == run


def test_an_experiment_may_be_moved_with_its_runs_only_the_long_way(run: Path) -> None:
    elsewhere = run.parent.rename(run.parent.with_name("renamed"))
    assert marked(elsewhere, cfg_of(elsewhere.parent)) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda run: (run.parents[1] / "weights").write_text("trained again"),
        lambda run: (run.parents[1] / "data").unlink(),
        lambda run: os.utime(run.parents[1] / "data", ns=(1, 1)),  # another content, as long
        lambda run: (run / "samples" / "rank00.jsonl").write_text(""),
        lambda run: (run / "metrics.json").unlink(),
        lambda run: (run / "samples" / "rank01.jsonl").write_text("of a process that came later"),
        lambda run: [path.unlink() for path in (run.parents[1] / "cache" / FOLDER).iterdir()],
        lambda run: [
            path.write_text("{") for path in (run.parents[1] / "cache" / FOLDER).iterdir()
        ],
        lambda run: [
            path.write_text("[]") for path in (run.parents[1] / "cache" / FOLDER).iterdir()
        ],
    ],
)
def test_whatever_changes_takes_the_long_way(run: Path, change: Callable[[Path], object]) -> None:
    change(run)
    assert marked(run.parent, cfg_of(run.parents[1])) is None


@pytest.mark.parametrize(("policy", "seed"), [("fastv", 1), ("pdrop", 0)])
def test_another_command_has_a_mark_of_its_own(run: Path, policy: str, seed: int) -> None:
    assert marked(run.parent, cfg_of(run.parents[1], policy, seed)) is None


def test_another_checkout_takes_the_long_way(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ivcprune.runs.finished.OURS", run)
    assert marked(run.parent, cfg_of(run.parents[1])) is None


def test_a_file_of_the_same_size_and_time_is_another_file(run: Path) -> None:
    """As `cp --preserve` and `rsync --times` leave it."""
    data = run.parents[1] / "data"
    before = data.stat()
    data.write_text("DATA")
    os.utime(data, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert marked(run.parent, cfg_of(run.parents[1])) is None


def test_another_version_of_a_package_takes_the_long_way(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ivcprune.runs.finished.version", lambda package: "9.9")
    assert marked(run.parent, cfg_of(run.parents[1])) is None
