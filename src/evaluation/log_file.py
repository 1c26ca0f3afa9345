"""`log.txt`, what a run has to say."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ..runs.directory import RunDirectory
from ..runs.storage import writing


class _LogFile(logging.FileHandler):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """A full disk costs the record, which is on the terminal too, and nothing else."""


@contextmanager
def log_file(run_dir: RunDirectory) -> Iterator[None]:
    """Messages and tracebacks of this package go to `log.txt` as well."""
    path = run_dir.path / "log.txt"
    with writing(path):
        handler = _LogFile(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    package = logging.getLogger(__package__.partition(".")[0])
    package.addHandler(handler)
    try:
        yield
    except BaseException:
        # To the file alone, and whatever level the logger has.
        stopped = package.makeRecord(
            package.name, logging.ERROR, __file__, 0, "stopped", (), sys.exc_info()
        )
        handler.handle(stopped)
        raise
    finally:
        package.removeHandler(handler)
        with suppress(OSError):  # of a full disk, which must not hide why the run stopped
            handler.close()


def log_stop(run_dir: RunDirectory, error: Exception) -> None:
    """The traceback of what stopped one run of several goes to its own `log.txt`."""
    with suppress(type(error), OSError), log_file(run_dir):
        raise error
