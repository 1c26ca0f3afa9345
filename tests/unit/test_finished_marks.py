"""A mark says that nothing is left to compute only while nothing that counts has changed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from ivcprune.runs.finished import FOLDER, mark, marked

CFG = OmegaConf.create({"policy": {"name": "fastv"}, "seed": 0})


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run with one rank's rows, and beside the experiment the weights and the data."""
    folder = tmp_path / "experiment" / "fastv-tiny-scenes-12345678"
    (folder / "samples").mkdir(parents=True)
    for name in ("status.json", "metrics.json", "samples.parquet", "samples/rank00.jsonl"):
        (folder / name).write_text(name)
    for name in ("weights", "data"):
        (tmp_path / name).write_text(name)
    mark(folder.parent, CFG, folder, [tmp_path / "weights", tmp_path / "data"])
    return folder


def test_the_same_command_has_nothing_left(run: Path) -> None:
    assert marked(run.parent, CFG) == run


def test_an_experiment_may_be_moved_with_its_runs_only_the_long_way(run: Path) -> None:
    elsewhere = run.parent.rename(run.parent.with_name("renamed"))
    assert marked(elsewhere, CFG) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda run: (run.parents[1] / "weights").write_text("trained again"),
        lambda run: (run.parents[1] / "data").unlink(),
        lambda run: os.utime(run.parents[1] / "data", ns=(1, 1)),  # another content, as long
        lambda run: (run / "samples" / "rank00.jsonl").write_text(""),
        lambda run: (run / "metrics.json").unlink(),
        lambda run: (run / "samples" / "rank01.jsonl").write_text("of a process that came later"),
        lambda run: [path.unlink() for path in (run.parent / FOLDER).iterdir()],
        lambda run: [path.write_text("{") for path in (run.parent / FOLDER).iterdir()],
        lambda run: [path.write_text("[]") for path in (run.parent / FOLDER).iterdir()],
    ],
)
def test_whatever_changes_takes_the_long_way(run: Path, change: Callable[[Path], object]) -> None:
    change(run)
    assert marked(run.parent, CFG) is None


@pytest.mark.parametrize(
    "cfg", [{"policy": {"name": "fastv"}, "seed": 1}, {"policy": {"name": "pdrop"}, "seed": 0}]
)
def test_another_command_has_a_mark_of_its_own(run: Path, cfg: dict[str, object]) -> None:
    other: DictConfig = OmegaConf.create(cfg)
    assert marked(run.parent, other) is None


def test_another_version_of_a_package_takes_the_long_way(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ivcprune.runs.finished.version", lambda package: "9.9")
    assert marked(run.parent, CFG) is None
