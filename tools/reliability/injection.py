"""What goes wrong inside a run, for the length of a `with` block."""

from __future__ import annotations

import io
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from ivcprune.data.batch import Batch
from ivcprune.evaluation.module import PredictModule
from ivcprune.models.registry import family_named
from ivcprune.runs.samples import SampleLog
from ivcprune.runs.schema import SampleRow

HOLD_LOCK = """
import sys
from pathlib import Path
from ivcprune.runs.directory import RunDirectory
with RunDirectory(Path(sys.argv[1])).lock(int(sys.argv[2])):
    print("locked", flush=True)
    sys.stdin.read()
"""


@contextmanager
def witnessed() -> Iterator[set[str]]:
    """Collects the samples whose rows, by the word of `SampleLog.append`, are on the disk."""
    seen: set[str] = set()
    append = SampleLog.append

    def append_and_note(log: SampleLog, rows: Sequence[SampleRow]) -> None:
        append(log, rows)
        seen.update(row.sample_id for row in rows if row.error is None)

    with mock.patch.object(SampleLog, "append", append_and_note):
        yield seen


@contextmanager
def out_of_memory(refused: Callable[[Batch], bool]) -> Iterator[None]:
    """Raises what CUDA raises, after the prefill, in batches that `refused` chooses."""
    generate = PredictModule._generate

    def generate_or_fail(module: PredictModule, batch: Batch) -> Any:
        model: Any = module.model
        if not refused(batch):
            return generate(module, batch)

        def no_memory(*_: object, **__: object) -> None:
            raise torch.OutOfMemoryError("injected: no memory left\nfor the next layer")

        # The last layer is reached with every hook in place and most caches filled.
        last = family_named(module.spec.family).layers(model)[-1]
        handle = last.register_forward_hook(no_memory)
        try:
            return generate(module, batch)
        finally:
            handle.remove()

    with mock.patch.object(PredictModule, "_generate", generate_or_fail):
        yield


@contextmanager
def asked_to_stop(at_batch: int) -> Iterator[None]:
    """Sends this process SIGTERM, as schedulers do, while it computes a batch, counted from 1."""
    generate, batches = PredictModule._generate, []

    def stop_and_generate(module: PredictModule, batch: Batch) -> Any:
        batches.append(batch)
        if len(batches) == at_batch:
            os.kill(os.getpid(), signal.SIGTERM)
        return generate(module, batch)

    with mock.patch.object(PredictModule, "_generate", stop_and_generate):
        yield


@contextmanager
def file_size_limit(n_bytes: int) -> Iterator[None]:
    """The kernel refuses to let any file grow beyond `n_bytes`, as a quota would.

    What the run prints is dropped: it may go to a file as well.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def another_process_at(run_dir: Path, rank: int = 0) -> Iterator[None]:
    """Holds the lock of a rank of a run from another process."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD_LOCK, str(run_dir), str(rank)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        try:
            if holder.stdout is None or holder.stdout.readline() != "locked\n":
                raise RuntimeError(f"no other process could lock {run_dir}")
            yield
        finally:
            holder.kill()
