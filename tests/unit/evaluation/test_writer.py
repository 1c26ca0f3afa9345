"""The last barrier of a run of several processes: rows, not connections, say that it is done."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ivcprune.evaluation.writer import SampleWriter
from ivcprune.runs.directory import RunDirectory
from ivcprune.runs.samples import SampleLog
from ivcprune.runs.schema import SampleRow

CLOSED = "Connection closed by peer [127.0.0.1]:29076"


def trainer_whose_peer_is_gone(exit_code: int | None) -> Any:
    def barrier(name: str) -> None:
        raise RuntimeError(CLOSED)

    child = SimpleNamespace(poll=lambda: exit_code)
    strategy = SimpleNamespace(barrier=barrier, launcher=SimpleNamespace(procs=[child]))
    return SimpleNamespace(strategy=strategy)


def writer(run_dir: RunDirectory) -> SampleWriter:
    data: Any = SimpleNamespace(ids=["a", "b"])
    return SampleWriter(run_dir, data)


def write(folder: Path, rank: int, *rows: SampleRow) -> RunDirectory:
    run_dir = RunDirectory(folder)
    log = SampleLog(run_dir.sample_file(rank))
    log.append(rows)
    log.close()
    return run_dir


def row(name: str, error: str | None = None) -> SampleRow:
    return SampleRow(name, task="vqa", rank=0, error=error)


def test_a_process_that_left_after_its_last_row_is_not_missed(tmp_path: Path) -> None:
    write(tmp_path, 0, row("a"))
    run_dir = write(tmp_path, 1, row("b"))
    writer(run_dir).on_predict_end(trainer_whose_peer_is_gone(0), None)  # type: ignore[arg-type]


@pytest.mark.parametrize("rows", [[], [row("b", error="out of memory")]])
def test_a_process_that_died_before_is_named(tmp_path: Path, rows: list[SampleRow]) -> None:
    write(tmp_path, 0, row("a"))
    run_dir = write(tmp_path, 1, *rows)
    with pytest.raises(
        RuntimeError, match=r"\(rank 1 with exit code -11\) before 1 of 2"
    ) as caught:
        writer(run_dir).on_predict_end(trainer_whose_peer_is_gone(-11), None)  # type: ignore[arg-type]
    assert CLOSED in str(caught.value.__cause__)
    with pytest.raises(RuntimeError, match="its own output says which"):
        writer(run_dir).on_predict_end(trainer_whose_peer_is_gone(None), None)  # type: ignore[arg-type]
