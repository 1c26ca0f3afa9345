"""Writing files such that a refusal of the disk is understood and leaves nothing half done."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

REFUSALS = {
    errno.ENOSPC: "the disk is full: free some space",
    errno.EDQUOT: "the quota is used up: free some space",
    errno.EFBIG: "a file may not grow as large here: raise the limit on file sizes (ulimit -f)",
    errno.EROFS: "the file system is read-only: choose another with paths.output_dir",
    errno.EACCES: "this user may not write there: choose another folder with paths.output_dir",
    errno.EPERM: "this user may not write there: choose another folder with paths.output_dir",
}
"""What the user can put right, by error number."""


class StorageError(OSError):
    """The folder of a run cannot be written, for a reason that the user can put right."""


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Explains why `path` cannot be written.

    Raises:
        StorageError: for one of `REFUSALS`; other errors pass as they are.
    """
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        if error.errno not in REFUSALS:
            raise
        raise StorageError(
            error.errno,
            f"{path} cannot be written, for {REFUSALS[error.errno]}, then run the same command "
            "again: what is finished is kept",
        ) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A draft to write, which then replaces `path` at once: no reader ever sees a part of it.

    Where writing fails, `path` stays as it was and the draft is removed.

    Raises:
        StorageError: see `writing`.
    """
    draft = path.with_name(f".{path.name}.draft")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield draft
            draft.replace(path)
        except BaseException:
            with suppress(OSError):
                draft.unlink(missing_ok=True)
            raise
