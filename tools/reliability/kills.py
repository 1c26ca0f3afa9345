"""Runs of two processes that are killed at random moments and started again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from .trial import check_same_rows, check_same_samples
from .workload import Attempt, Row, Workload

PATIENCE = 600.0
"""Seconds for a run to end; it takes a fraction of that."""

BUSY = "is being written by"
"""Words of a start that meets a process of the killed run."""

KILLS_A_RUN = 5
"""Then a run is left to its end, and the next one begins."""

BEFORE_ROWS = 20.0
"""Seconds; a third of the moments is that long after a start at most, the others at a row."""


@dataclass(frozen=True, slots=True)
class KillResult:
    """How one kill went.

    Attributes:
        victims: "both", "first" or "second" of the two processes.
        seconds: after the start.
        rows: samples that had a row afterwards.
        refused: starts before this one that met a process which had survived the kill before.
        problem: what did not hold; None where everything did.
    """

    victims: str
    seconds: float
    rows: int
    refused: int
    problem: str | None = None


@dataclass
class KilledRun:
    """One run, killed and started again.

    Attributes:
        groups: the process groups that were started.
        refused: starts that met a surviving process, since the latest kill.
    """

    attempt: Attempt
    rng: Random
    groups: list[int] = field(default_factory=list)
    refused: int = 0

    def kill_once(self) -> KillResult | None:
        """Starts the run and kills it; None where it came to its end before the moment did.

        Raises:
            LossError: finished rows are lost or changed.
            RuntimeError: the run broke off of itself.
        """
        before = self.attempt.rows()
        is_time = self._choose_moment(len(before))
        while True:
            process, started = self._start(), time.monotonic()
            while process.poll() is None and not is_time(time.monotonic() - started):
                time.sleep(0.01)
            if process.poll() is None:
                break
            if self._has_finished(process):
                return None
        seconds = time.monotonic() - started
        victims = self._kill(process)
        after = self.attempt.rows()
        check_same_rows(before, after)
        result = KillResult(victims, round(seconds, 2), len(after), self.refused)
        self.refused = 0
        return result

    def finish(self, reference: Sequence[Row]) -> None:
        """Lets the run come to its end.

        Raises:
            LossError: its samples are not those of `reference`.
            RuntimeError: the run broke off of itself.
        """
        before = self.attempt.rows()
        while not self._has_finished(self._start()):
            time.sleep(1.0)
        check_same_rows(before, self.attempt.rows())
        check_same_samples(self.attempt.samples(), reference)

    def end_all(self) -> None:
        """Ends every process that was started, survivors of kills too."""
        for group in self.groups:
            with suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)

    @property
    def _log(self) -> Path:
        return self.attempt.output_dir / "output.txt"

    def _start(self) -> subprocess.Popen[bytes]:
        self.attempt.output_dir.mkdir(parents=True, exist_ok=True)
        overrides = self.attempt.workload.overrides(self.attempt.output_dir, "trainer=ddp_sim")
        with self._log.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "ivcprune", *overrides],
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=self.attempt.workload.folder,
            )
        self.groups.append(process.pid)
        return process

    def _has_finished(self, process: subprocess.Popen[bytes]) -> bool:
        """Waits for the end; False where the run was left alone, since another process is at it."""
        if process.wait(PATIENCE) == 0:
            return True
        output = self._log.read_text(encoding="utf-8", errors="replace")
        if BUSY not in output:
            raise RuntimeError(f"the run ended with {process.returncode}:\n{output[-20_000:]}")
        self.refused += 1
        return False

    def _choose_moment(self, rows: int) -> Callable[[float], bool]:
        """Whether it is time to kill, by the seconds since the start."""
        if self.rng.random() < 1 / 3:
            limit = self.rng.uniform(0.0, BEFORE_ROWS)
            return lambda seconds: seconds >= limit
        least = rows + self.rng.randint(1, max(1, (self.attempt.workload.size - rows) // 2))
        return lambda seconds: len(self.attempt.rows()) >= least

    def _kill(self, process: subprocess.Popen[bytes]) -> str:
        """Returns which processes were killed, after the first one is dead."""
        children = _children(process.pid)
        victims = self.rng.choice(["both", "first", "second"]) if children else "both"
        if victims == "both":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            victim = process.pid if victims == "first" else children[0]
            with suppress(ProcessLookupError):  # it may have come to its end in the meantime
                os.kill(victim, signal.SIGKILL)
        # Without the second process, the first one ends as soon as it notices.
        process.wait(PATIENCE)
        return victims


def kill_and_resume(
    workload: Workload, reference: Sequence[Row], kills: int, rng: Random
) -> Iterator[KillResult]:
    """Kills runs `kills` times in all; between, they come to their end and are compared.

    Args:
        reference: the samples of an undisturbed run in one process.
    """
    done, number = 0, 0
    while done < kills:
        run = KilledRun(Attempt(workload, workload.folder / f"killed-{number}"), rng)
        number += 1
        for result in _kill_one_run(run, reference, min(KILLS_A_RUN, kills - done)):
            done += 1
            yield result
        shutil.rmtree(run.attempt.output_dir, ignore_errors=True)


def _kill_one_run(run: KilledRun, reference: Sequence[Row], kills: int) -> Iterator[KillResult]:
    """The kills of one run; what shows after one is the problem of the next, or a last one."""
    try:
        for _ in range(kills):
            result = run.kill_once()
            if result is None:
                break
            yield result
        run.finish(reference)
    except (AssertionError, RuntimeError, ValueError, subprocess.TimeoutExpired) as error:
        yield KillResult("none", 0.0, len(run.attempt.rows()), run.refused, repr(error))
    finally:
        run.end_all()


def _children(process: int) -> list[int]:
    path = Path(f"/proc/{process}/task/{process}/children")
    return [int(child) for child in path.read_text().split()] if path.exists() else []
