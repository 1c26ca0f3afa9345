"""`job=status`: how far all runs are."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from omegaconf import DictConfig
from rich import box
from rich.live import Live
from rich.table import Table

from ..report.console import table_console
from ..report.formats import MISSING, number
from ..runs.directory import RunDirectory
from ..runs.read import SELECT_LAYER
from ..runs.schema import Status

COLUMNS = ("state", "done", "failed", "remaining", "per s", "left", "updated")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one run is.

    Attributes:
        state: of `status.json`; "stopped" where no process is at a run that was not ended.
        failed: samples among `done` that the next start tries again.
        updated: month, day and minute, UTC.
    """

    experiment: str
    run: str
    state: str
    done: int
    failed: int
    total: int
    samples_per_second: float | None
    updated: str

    @property
    def remaining(self) -> int:
        """Samples without a row."""
        return self.total - self.done

    @property
    def seconds_left(self) -> float | None:
        """At the rate of the latest start; None where nothing is computed."""
        if self.state != "running" or not self.samples_per_second:
            return None
        return self.remaining / self.samples_per_second


def run(cfg: DictConfig, watch: bool = False, interval: float = 2.0) -> None:
    """Prints one line for every run under `paths.output_dir`.

    Args:
        watch: keep the table up to date until it is interrupted (Ctrl-C).
        interval: seconds between two looks.

    Raises:
        FileNotFoundError: there is no run, and `watch` does not wait for one.
        ValueError: `interval` is not positive.
    """
    if interval <= 0:
        raise ValueError(f"job.interval is {interval}: it must be a positive number of seconds")
    output_dir = Path(cfg.paths.output_dir).expanduser()
    console = table_console()
    if not watch:
        runs = list(all_progress(output_dir))
        if not runs:
            raise FileNotFoundError(
                f"no runs in {output_dir}: start one with `ivcprune`, or set paths.output_dir"
            )
        console.print(as_table(runs))
        return
    with suppress(KeyboardInterrupt), Live(console=console, auto_refresh=False) as live:
        while True:
            live.update(as_table(list(all_progress(output_dir))), refresh=True)
            time.sleep(interval)


def all_progress(output_dir: Path) -> Iterator[Progress]:
    """Of every run in the experiments of `output_dir`, by name."""
    patterns = ("*/*/status.json", f"*/{SELECT_LAYER}/*/*/status.json")
    for path in sorted(path for pattern in patterns for path in output_dir.glob(pattern)):
        run_dir = RunDirectory(path.parent)
        status = run_dir.read_status()
        if status is not None:
            yield Progress(
                experiment=str(run_dir.path.parent.relative_to(output_dir)),
                run=run_dir.path.name,
                state=state_of(run_dir, status),
                done=status.done,
                failed=status.errors,
                total=status.total,
                samples_per_second=status.samples_per_second,
                updated=status.updated[5:16].replace("T", " "),
            )


def as_table(runs: list[Progress]) -> Table:
    """One line a run; below, how many runs are in which state and what they lack together."""
    states = Counter(progress.state for progress in runs)
    remaining = sum(progress.remaining for progress in runs)
    words = [f"{count} {state}" for state, count in sorted(states.items())]
    table = Table(
        "experiment",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        caption=", ".join([*words, f"{remaining} samples remaining"]),
        caption_justify="left",
    )
    table.add_column("run", overflow="fold")
    for name in COLUMNS:
        table.add_column(name, no_wrap=True)
    for progress in runs:
        table.add_row(progress.experiment, progress.run, *_cells(progress))
    return table


def state_of(run_dir: RunDirectory, status: Status) -> str:
    """The state, where "running" is believed only while a process holds the run's lock."""
    if status.state == "running" and not run_dir.is_locked():
        return "stopped"
    return status.state


def _cells(progress: Progress) -> list[str]:
    seconds = progress.seconds_left
    return [
        progress.state,
        f"{progress.done}/{progress.total}",
        str(progress.failed),
        str(progress.remaining),
        number(progress.samples_per_second),
        MISSING if seconds is None else str(timedelta(seconds=round(seconds))),
        progress.updated,
    ]
