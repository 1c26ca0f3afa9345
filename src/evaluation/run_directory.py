"""The files of one run, and who may write them."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

State = Literal["running", "done", "failed"]


@dataclass(frozen=True, slots=True)
class Status:
    """How far a run is; `status.json`.

    Attributes:
        done: samples with a row, failed ones included.
        errors: how many of them failed.
        started, updated: ISO 8601, UTC; `started` is of the first start.
        seconds: spent on predicting, over all starts.
        samples_per_second: of the latest start.
    """

    state: State
    done: int
    total: int
    errors: int
    started: str
    updated: str
    seconds: float = 0.0
    samples_per_second: float | None = None


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
        """None where the run has not started."""
        path = self.path / "status.json"
        return Status(**json.loads(path.read_text())) if path.exists() else None

    def write_status(self, status: Status) -> None:
        self.write_json("status.json", asdict(status))

    def write_json(self, name: str, content: Any) -> None:
        self.write_text(name, json.dumps(content, indent=2) + "\n")

    def write_text(self, name: str, content: str) -> None:
        """Replaces the file at once: no reader ever sees a part of it."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.draft")
        draft.write_text(content, encoding="utf-8")
        draft.replace(path)

    @contextmanager
    def lock(self, rank: int) -> Iterator[None]:
        """Holds the right to write as `rank`; the system frees it when the process dies.

        Raises:
            BlockingIOError: another process holds it.
        """
        path = self.path / "samples" / f".rank{rank:02d}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        # Record locks, unlike flock's, are not inherited by forked DataLoader workers, which would
        # keep the lock of a killed run for some seconds.
        with path.open("a+", encoding="utf-8") as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                file.seek(0)
                raise BlockingIOError(
                    f"{self.path} is being written by {file.read() or 'another process'}: "
                    "wait for it or stop it, then run the command again"
                ) from error
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}")
            file.flush()
            yield

    def is_locked(self) -> bool:
        """Whether a process is at this run now."""
        path = self.path / "samples" / ".rank00.lock"
        if not path.exists():
            return False
        with path.open("a", encoding="utf-8") as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return True
        return False


def new_status() -> Status:
    """Of a run that starts now."""
    return Status(state="running", done=0, total=0, errors=0, started=now(), updated=now())


def now() -> str:
    """ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")
