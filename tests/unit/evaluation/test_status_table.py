"""`job=status`: how far runs are, what they lack, and when they will be there."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from tools.reliability.injection import another_process_at

from ivcprune.jobs import status as status_table
from ivcprune.jobs.status import all_progress, as_table, run
from ivcprune.runs.directory import RunDirectory
from ivcprune.runs.schema import Status

AT_WORK = Status(
    state="running",
    done=30,
    total=100,
    errors=2,
    started="2026-01-02T03:04:05+00:00",
    updated="2026-01-02T03:05:06+00:00",
    samples_per_second=0.5,
)


@pytest.fixture
def cfg(tmp_path: Path) -> DictConfig:
    return OmegaConf.create({"paths": {"output_dir": str(tmp_path)}})


def run_dir(cfg: DictConfig, name: str, status: Status) -> RunDirectory:
    directory = RunDirectory(Path(cfg.paths.output_dir) / "sweep" / name)
    directory.write_status(status)
    return directory


def test_a_run_at_work_says_what_remains_and_how_long_it_will_take(cfg: DictConfig) -> None:
    directory = run_dir(cfg, "a", AT_WORK)
    with another_process_at(directory.path):
        (progress,) = all_progress(Path(cfg.paths.output_dir))
    assert (progress.state, progress.done, progress.failed) == ("running", 30, 2)
    assert (progress.remaining, progress.seconds_left) == (70, 140.0)


def test_a_run_that_nobody_works_at_has_no_time_of_arrival(cfg: DictConfig) -> None:
    run_dir(cfg, "dead", AT_WORK)
    run_dir(cfg, "ended", replace(AT_WORK, state="failed"))
    run_dir(cfg, "finished", replace(AT_WORK, state="done", done=100))
    progress = list(all_progress(Path(cfg.paths.output_dir)))
    assert [p.state for p in progress] == ["stopped", "failed", "done"]
    assert [p.seconds_left for p in progress] == [None] * 3
    assert [p.remaining for p in progress] == [70, 70, 0]


def test_the_table_sums_up_all_runs(cfg: DictConfig, capsys: pytest.CaptureFixture[str]) -> None:
    run_dir(cfg, "dead", AT_WORK)
    run_dir(cfg, "also-dead", AT_WORK)
    run_dir(cfg, "finished", replace(AT_WORK, state="done", done=100))
    run(cfg)
    table = capsys.readouterr().out
    assert "1 done, 2 stopped, 140 samples remaining" in table
    assert "30/100" in table
    assert "01-02 03:05 " in table


def test_the_time_left_is_readable(cfg: DictConfig) -> None:
    directory = run_dir(cfg, "a", replace(AT_WORK, total=10_030))
    with another_process_at(directory.path):
        progress = list(all_progress(Path(cfg.paths.output_dir)))
    console = Console(file=io.StringIO(), width=160)
    console.print(as_table(progress))
    assert "5:33:20" in console.file.getvalue()  # type: ignore[attr-defined]


def test_a_damaged_status_does_not_hide_the_other_runs(cfg: DictConfig) -> None:
    run_dir(cfg, "a", AT_WORK)
    damaged = run_dir(cfg, "b", AT_WORK)
    (damaged.path / "status.json").write_text('{"state": "run')
    assert [p.run for p in all_progress(Path(cfg.paths.output_dir))] == ["a"]


def test_watching_shows_what_has_changed_until_it_is_interrupted(
    cfg: DictConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir(cfg, "a", AT_WORK)
    looks: list[float] = []

    def finish_then_interrupt(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 2:
            raise KeyboardInterrupt
        run_dir(cfg, "a", replace(AT_WORK, state="done", done=100))

    monkeypatch.setattr(status_table.time, "sleep", finish_then_interrupt)
    run(cfg, watch=True, interval=0.5)
    assert looks == [0.5, 0.5]
    assert "100/100" in capsys.readouterr().out


@pytest.mark.parametrize("interval", [0, -1.0])
def test_the_interval_is_positive(cfg: DictConfig, interval: float) -> None:
    with pytest.raises(ValueError, match=rf"job.interval is {interval}: it must be a positive"):
        run(cfg, watch=True, interval=interval)
