"""The other processes of a run end with the first one."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ..runs.directory import RunDirectory

INTERVAL = 1.0
"""Seconds between two looks at the first process."""

MISSES = 2
"""In a row; at a single look, it may be just writing its name."""


@contextmanager
def ending_with_first_process(run_dir: RunDirectory, launched_by_it: bool) -> Iterator[None]:
    """Within, this process ends at once when the first process of its run is gone.

    It would wait for it for half an hour, in a collective operation that nothing interrupts, hold
    the lock of its rank, and so keep the run from being started again.

    Args:
        launched_by_it: the first process was there before this one. Else it may still come.
    """
    finished = threading.Event()
    first = run_dir.first_process()

    def watch() -> None:
        expected, misses = first, 0
        while misses < MISSES:
            if finished.wait(INTERVAL):
                return
            current = run_dir.first_process()
            if expected is None and not launched_by_it:
                expected = current
            elif expected is None or current != expected:
                misses += 1
            else:
                misses = 0
        print("the first process of this run is gone", file=sys.stderr, flush=True)
        os._exit(1)

    threading.Thread(target=watch, name="first-process-observer", daemon=True).start()
    try:
        yield
    finally:
        finished.set()
