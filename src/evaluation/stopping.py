"""What is written down of a run that ends before its end."""

from __future__ import annotations

import logging
import signal
from contextlib import suppress
from dataclasses import replace

from ..runs.directory import RunDirectory, new_status, now
from ..runs.schema import State
from ..runs.storage import StorageError

log = logging.getLogger(__name__)


def record_stop(run_dir: RunDirectory, error: BaseException) -> None:
    """Failed, or stopped, in `status.json` and for the reader."""
    status = run_dir.read_status() or new_status()
    failed = isinstance(error, Exception)  # Ctrl-C and SIGTERM are no failures
    # Without the lock of its run, "running" is not believed: it stays where the run has stopped,
    # or where a full disk keeps this from being written.
    state: State = "failed" if failed else "running"
    with suppress(StorageError):
        run_dir.write_status(replace(status, state=state, updated=now()))
    place = f"at {status.done} of {status.total} samples"
    if _was_asked_to_stop(error):
        log.info("stopped %s: the same command goes on from there", place)
    else:
        verb = "failed" if failed else "ended"
        log.info("%s %s: the traceback is in %s", verb, place, run_dir.path / "log.txt")


def _was_asked_to_stop(error: BaseException) -> bool:
    """Whether it was Ctrl-C, which Lightning turns into an exit, or SIGTERM."""
    if not isinstance(error, SystemExit):
        return isinstance(error, KeyboardInterrupt)
    return error.code == 128 + signal.SIGTERM or isinstance(error.__context__, KeyboardInterrupt)
