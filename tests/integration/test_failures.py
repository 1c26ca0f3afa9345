"""What goes wrong while a run goes on is met as promised: said clearly, and nothing is lost."""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tools.reliability import injection
from tools.reliability.disk import can_mount
from tools.reliability.faults import FAULTS, NEED_DISK
from tools.reliability.trial import reference_samples, try_fault
from tools.reliability.workload import Attempt, Row, Workload

from ivcprune import cli
from ivcprune.runs.samples import SampleLog
from ivcprune.runs.storage import StorageError

SIZE = 14

START_AND_LOSE_FIRST_PROCESS = """
import sys, time
from pathlib import Path
from ivcprune.evaluation.companions import ending_with_first_process
from ivcprune.runs.directory import RunDirectory
with ending_with_first_process(RunDirectory(Path(sys.argv[1])), launched_by_it=False):
    print("watching", flush=True)
    time.sleep(60)
"""


@pytest.fixture(scope="module")
def workload(tmp_path_factory: pytest.TempPathFactory) -> Workload:
    workload = Workload(tmp_path_factory.mktemp("failures") / "workload", SIZE)
    workload.write()
    return workload


@pytest.fixture(scope="module")
def reference(workload: Workload) -> list[Row]:
    return reference_samples(workload, workload.folder / "undisturbed")


@pytest.fixture
def attempt(workload: Workload, tmp_path: Path) -> Attempt:
    return Attempt(workload, tmp_path / "outputs")


@pytest.mark.parametrize("fault", sorted(set(FAULTS) - NEED_DISK))
def test_nothing_finished_is_lost(workload: Workload, reference: list[Row], fault: str) -> None:
    result = try_fault(workload, reference, fault, seed=1)
    assert result.problem is None


@pytest.mark.skipif(not can_mount(), reason="this system lets its users mount nothing")
def test_nothing_finished_is_lost_on_a_real_full_or_read_only_disk(tmp_path: Path) -> None:
    options = ["--faults", "4", "--kills", "0", "--output", str(tmp_path), "--kinds", *NEED_DISK]
    command = [sys.executable, "-m", "tools.reliability", *options]
    subprocess.run(command, cwd=Path(__file__).parents[2], check=True)
    record = json.loads((tmp_path / "reliability.json").read_text())
    assert record["faults_by_kind"] == {name: {"tried": 2, "problems": 0} for name in NEED_DISK}


def test_a_check_notices_a_lost_sample(
    workload: Workload, reference: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    append = SampleLog.append
    monkeypatch.setattr(SampleLog, "append", lambda log, rows: append(log, rows[1:]))
    result = try_fault(workload, reference, "asked_to_end", seed=1)
    assert result.problem is not None


def test_a_batch_that_does_not_fit_is_halved_and_the_next_one_is_whole_again(
    attempt: Attempt, reference: list[Row], caplog: pytest.LogCaptureFixture
) -> None:
    sizes: list[int] = []

    def first_is_too_large(batch: object) -> bool:
        sizes.append(len(batch.samples))  # type: ignore[attr-defined]
        return len(sizes) <= 2

    with injection.out_of_memory(first_is_too_large):
        attempt.start()
    assert sizes == [3, 2, 1, 1, 1, 3, 3, 3, 2]
    assert "out of memory for a batch of 3, which is halved; batch_size=1 saves" in caplog.text
    assert attempt.samples() == reference


def test_a_sample_that_never_fits_is_a_failed_row_which_is_tried_again(
    attempt: Attempt, reference: list[Row], caplog: pytest.LogCaptureFixture
) -> None:
    with injection.out_of_memory(lambda batch: "sample-3" in {s.id for s in batch.samples}):
        attempt.start()
    (failed,) = [row for row in attempt.rows() if row.error is not None]
    assert failed.sample_id == "sample-3"
    assert failed.error == "OutOfMemoryError: injected: no memory left for the next layer"
    assert "out of memory for sample sample-3 alone: it failed" in caplog.text
    attempt.start()
    assert attempt.samples() == reference


def test_a_full_disk_is_named_and_takes_a_batch_whole_or_not_at_all(
    attempt: Attempt, reference: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    write, calls = SampleLog._write, []

    def half_of_the_second_batch(log: SampleLog, content: bytes) -> None:
        calls.append(content)
        if len(calls) == 2:
            write(log, content[: len(content) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(log, content)

    monkeypatch.setattr(SampleLog, "_write", half_of_the_second_batch)
    with pytest.raises(StorageError, match=r"rank00\.jsonl cannot .* the disk is full"):
        attempt.start()
    assert attempt.run_dir.sample_file(0).read_bytes() == calls[0]
    attempt.start()
    assert attempt.samples() == reference


@pytest.mark.usefixtures("reference")  # which has read the data, before files may not grow
def test_the_state_that_a_full_disk_refuses_does_not_hide_why_the_run_stopped(
    attempt: Attempt, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "ivcprune")  # so that the log has something to write as well
    with injection.file_size_limit(100), pytest.raises(StorageError, match="a file may not grow"):
        attempt.start()
    assert not list(attempt.output_dir.rglob("*.draft"))


def test_a_damaged_parquet_is_written_anew_from_the_rows(
    attempt: Attempt, reference: list[Row]
) -> None:
    attempt.start()
    path = attempt.run_dir.path / "samples.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    attempt.start()
    assert attempt.samples() == reference


def test_a_process_that_survived_with_a_higher_rank_keeps_others_out(attempt: Attempt) -> None:
    with injection.asked_to_stop(1), pytest.raises(SystemExit):
        attempt.start()
    holder = injection.another_process_at(attempt.run_dir.path, rank=1)
    with holder, pytest.raises(BlockingIOError, match="is being written by process"):
        attempt.start()
    attempt.start()
    assert len(attempt.samples()) == SIZE


def test_other_processes_end_with_the_first_one(tmp_path: Path) -> None:
    with injection.another_process_at(tmp_path):
        other = subprocess.Popen(
            [sys.executable, "-c", START_AND_LOSE_FIRST_PROCESS, str(tmp_path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert other.stdout is not None
        assert other.stdout.readline() == "watching\n"
        time.sleep(2.5)
        assert other.poll() is None
    _, messages = other.communicate(timeout=30)
    assert other.returncode == 1
    assert "the first process of this run is gone" in messages


def test_the_command_line_says_in_one_sentence_what_to_do(
    attempt: Attempt, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_space(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(SampleLog, "_write", no_space)
    arguments = attempt.workload.overrides(attempt.output_dir)
    monkeypatch.setattr(sys, "argv", ["ivcprune", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    said = f"{stop.value.code} {capsys.readouterr().err}"
    assert re.search(r"error: .* cannot be written, for the disk is full: free some space", said)
    assert "Traceback" not in said
