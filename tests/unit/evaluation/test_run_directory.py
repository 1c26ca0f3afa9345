"""One process at a run; a dead one does not stand in the way."""

import subprocess
import sys
from pathlib import Path

import pytest

from ivcprune.jobs.status import state_of
from ivcprune.runs.directory import RunDirectory, new_status

HOLD_LOCK = """
import sys, time
from pathlib import Path
from ivcprune.runs.directory import RunDirectory
with RunDirectory(Path(sys.argv[1])).lock(int(sys.argv[2])):
    print("locked", flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_told_who_is_at_the_run(tmp_path: Path) -> None:
    run_dir = RunDirectory(tmp_path / "run")
    assert not run_dir.is_locked()
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD_LOCK, str(run_dir.path), "0"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        assert run_dir.is_locked()
        with pytest.raises(BlockingIOError, match=f"written by process {holder.pid} on"):
            run_dir.lock(0).__enter__()
        with run_dir.lock(1):
            assert run_dir.is_locked()
    finally:
        holder.kill()
        holder.wait()
    assert not run_dir.is_locked()
    with run_dir.lock(0):
        pass


def test_running_is_believed_only_of_a_living_process(tmp_path: Path) -> None:
    run_dir = RunDirectory(tmp_path)
    assert state_of(run_dir, new_status()) == "stopped"


def test_status_comes_back_as_it_was(tmp_path: Path) -> None:
    run_dir = RunDirectory(tmp_path / "experiment" / "run")
    assert run_dir.read_status() is None
    status = new_status()
    run_dir.write_status(status)
    assert run_dir.read_status() == status


def test_writing_leaves_no_draft_behind(tmp_path: Path) -> None:
    run_dir = RunDirectory(tmp_path)
    run_dir.write_text("config.yaml", "old")
    run_dir.write_text("config.yaml", "naïve")
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]
    assert (tmp_path / "config.yaml").read_text("utf-8") == "naïve"
