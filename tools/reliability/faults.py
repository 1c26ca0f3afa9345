"""One function for each fault: it disturbs a run, and returns when the run has met the fault.

What a fault promises, and what no fault may do, is checked in `trial.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

from ivcprune.runs.storage import StorageError

from .disk import ROOMY, read_only, resize
from .injection import another_process_at, asked_to_stop, file_size_limit, out_of_memory
from .workload import BATCH_SIZE, Attempt

Fault = Callable[[Attempt, Random], None]

BATCHES = 4
"""A stop is asked for in one of the first so many batches."""


PAGES = (2, 11)
"""Range of the size of a disk in pages of 4 KiB; a run of the workload takes more."""


class NotMetError(AssertionError):
    """The run did not answer a fault as it promises."""


def memory_short(attempt: Attempt, rng: Random) -> None:
    """Batches of more than `fits` samples do not fit; all samples are computed nevertheless."""
    fits = rng.randrange(1, BATCH_SIZE)
    with out_of_memory(lambda batch: len(batch.samples) > fits):
        attempt.start()
    _expect_failures(attempt, set())


def memory_exhausted(attempt: Attempt, rng: Random) -> None:
    """One sample does not fit even alone; it fails, and no other."""
    victim = f"sample-{rng.randrange(attempt.workload.size)}"
    with out_of_memory(lambda batch: victim in {sample.id for sample in batch.samples}):
        attempt.start()
    _expect_failures(attempt, {victim})


def corrupt_image(attempt: Attempt, rng: Random) -> None:
    """One image cannot be decoded; its sample fails, and no other."""
    with attempt.workload.spoiled(rng.randrange(attempt.workload.size)) as victim:
        attempt.start()
    _expect_failures(attempt, {victim})


def asked_to_end(attempt: Attempt, rng: Random) -> None:
    """SIGTERM in a batch: that batch is finished, the rest is not begun."""
    batches = rng.randrange(1, BATCHES + 1)
    _stop_after(attempt, batches)
    if len(attempt.finished()) != batches * BATCH_SIZE:
        raise NotMetError(f"asked to stop in batch {batches}: {len(attempt.finished())} samples")


def disk_full(attempt: Attempt, rng: Random) -> None:
    """The disk is full at some point; the run says so. There is room for the next start."""
    resize(attempt.output_dir, 4 * rng.randrange(*PAGES))
    _expect_refusal(attempt)
    resize(attempt.output_dir, ROOMY)


def disk_read_only(attempt: Attempt, rng: Random) -> None:
    """The disk of a run that was stopped is read-only at the next start."""
    _stop_after(attempt, rng.randrange(1, BATCHES + 1))
    with read_only(attempt.output_dir):
        _expect_refusal(attempt)


def file_too_large(attempt: Attempt, rng: Random) -> None:
    """The kernel refuses a write in the middle of a batch's rows, or of another file."""
    with file_size_limit(rng.randrange(200, 200 * attempt.workload.size)):
        _expect_refusal(attempt)


def second_process(attempt: Attempt, rng: Random) -> None:
    """Another process is at the run: this one leaves it alone."""
    _stop_after(attempt, rng.randrange(1, BATCHES + 1))
    before = attempt.rows()
    with another_process_at(attempt.run_dir.path):
        try:
            attempt.start()
        except BlockingIOError:
            pass
        else:
            raise NotMetError("two processes were let into one run")
    if attempt.rows() != before:
        raise NotMetError("the refused process changed the rows")


def truncated_parquet(attempt: Attempt, rng: Random) -> None:
    """`samples.parquet` of a finished run loses its end."""
    attempt.start()
    _truncate(attempt.run_dir.path / "samples.parquet", rng)


def truncated_status(attempt: Attempt, rng: Random) -> None:
    """`status.json` of a run that was stopped loses its end."""
    _stop_after(attempt, rng.randrange(1, BATCHES + 1))
    _truncate(attempt.run_dir.path / "status.json", rng)


def torn_row(attempt: Attempt, rng: Random) -> None:
    """A process died while it wrote a row."""
    _stop_after(attempt, rng.randrange(1, BATCHES + 1))
    path = attempt.run_dir.sample_file(0)
    line = path.read_bytes().splitlines()[0]
    with path.open("ab") as file:
        file.write(line[: rng.randrange(1, len(line))])


FAULTS: dict[str, Fault] = {
    fault.__name__: fault
    for fault in (
        memory_short,
        memory_exhausted,
        corrupt_image,
        asked_to_end,
        file_too_large,
        second_process,
        truncated_parquet,
        truncated_status,
        torn_row,
        disk_full,
        disk_read_only,
    )
}

NEED_DISK = frozenset({"disk_full", "disk_read_only"})
"""Faults of a disk that holds the run's output alone."""


def _stop_after(attempt: Attempt, batches: int) -> None:
    try:
        with asked_to_stop(batches):
            attempt.start()
    except SystemExit as stop:
        if stop.code != 143:
            raise NotMetError(f"asked to stop, the run ended with {stop.code}") from stop
    else:
        raise NotMetError("asked to stop, the run went on to its end")


def _expect_refusal(attempt: Attempt) -> None:
    try:
        attempt.start()
    except StorageError:
        return
    raise NotMetError("the run finished where it could not have written its files")


def _expect_failures(attempt: Attempt, expected: set[str]) -> None:
    failed = {row.sample_id for row in attempt.rows() if row.error is not None}
    if failed != expected:
        raise NotMetError(f"expected {sorted(expected)} to fail, not {sorted(failed)}")


def _truncate(path: Path, rng: Random) -> None:
    with path.open("rb+") as file:
        file.truncate(rng.randrange(path.stat().st_size))
