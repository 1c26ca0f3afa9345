"""The files of one run, and who may write them."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from .fields import read_json
from .schema import Status
from .storage import replacing, writing

ATTEMPTS = 5
"""At a lock, 0.1 s apart: `job=status` holds it for an instant."""


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """`outputs/<experiment>/<run_key>/`."""

    path: Path

    @property
    def sample_files(self) -> list[Path]:
        """The rows of each rank that ever took part."""
        return sorted(self.path.glob("samples/rank*.jsonl"))

    def sample_file(self, rank: int) -> Path:
        return self.path / "samples" / f"rank{rank:02d}.jsonl"

    def read_status(self) -> Status | None:
        """None where the run has not started or the file is damaged: rows tell what is done."""
        try:
            return read_json(self.path / "status.json", Status)
        except (FileNotFoundError, ValueError):
            return None

    def write_status(self, status: Status) -> None:
        self.write_json("status.json", asdict(status))

    def write_json(self, name: str, content: Any) -> None:
        self.write_text(name, json.dumps(content, indent=2) + "\n")

    def write_text(self, name: str, content: str) -> None:
        """Replaces the file at once: no reader ever sees a part of it.

        Raises:
            StorageError: it cannot be written; the file is as it was.
        """
        with replacing(self.path / name) as draft:
            draft.write_text(content, encoding="utf-8")

    @contextmanager
    def lock(self, rank: int) -> Iterator[None]:
        """Holds the right to write as `rank`; the system frees it when the process dies.

        Raises:
            BlockingIOError: another process holds it.
            StorageError: the folder cannot be written.
        """
        path = self._lock_file(rank)
        with ExitStack() as stack:
            # Record locks, unlike flock's, are not inherited by forked DataLoader workers, which
            # would keep the lock of a killed run for some seconds.
            with writing(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                file = stack.enter_context(path.open("a+", encoding="utf-8"))
            if not _acquire(file):
                raise self._busy(path)
            with writing(path):
                file.truncate(0)
                file.write(f"process {os.getpid()} on {socket.gethostname()}")
                file.flush()
                os.fsync(file.fileno())  # other machines shall read it now
            yield

    def refuse_other_ranks(self, world_size: int) -> None:
        """Checks that no process writes as a rank that a run of `world_size` processes lacks.

        When rank 0 of several processes is killed, the others may go on for a while.

        Raises:
            BlockingIOError: there is one.
        """
        for path in sorted(self.path.glob("samples/.rank*.lock")):
            if int(path.stem.removeprefix(".rank")) >= world_size and _is_held(path):
                raise self._busy(path)

    def is_locked(self) -> bool:
        """Whether the first process of this run is at work now."""
        path = self._lock_file(0)
        return path.exists() and _is_held(path)

    def first_process(self) -> str | None:
        """Which process is at work as rank 0; None where there is none, or no name yet."""
        name = self._lock_file(0).read_text(encoding="utf-8") if self.is_locked() else ""
        return name or None

    def _lock_file(self, rank: int) -> Path:
        return self.path / "samples" / f".rank{rank:02d}.lock"

    def _busy(self, lock_file: Path) -> BlockingIOError:
        holder = lock_file.read_text(encoding="utf-8") or "another process"
        return BlockingIOError(
            f"{self.path} is being written by {holder}: wait for it or stop it, then run the "
            "command again"
        )


def _acquire(file: IO[str]) -> bool:
    for attempt in range(ATTEMPTS):
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except (BlockingIOError, PermissionError):  # which of them is up to the system
            if attempt + 1 < ATTEMPTS:
                time.sleep(0.1)
    return False


def _is_held(lock_file: Path) -> bool:
    """Asks for a shared lock, which needs no right to write; not for a lock of this process."""
    with lock_file.open(encoding="utf-8") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def new_status() -> Status:
    """Of a run that starts now."""
    return Status(state="running", done=0, total=0, errors=0, started=now(), updated=now())


def now() -> str:
    """ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")
