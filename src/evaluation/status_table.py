"""`job=status`: how far all runs are."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig
from rich import box
from rich.table import Table

from ..report.formats import number
from .console import table_console
from .run_directory import RunDirectory, Status


def run(cfg: DictConfig) -> None:
    """Prints one line for every run under `paths.output_dir`.

    Raises:
        FileNotFoundError: there is none.
    """
    output_dir = Path(cfg.paths.output_dir).expanduser()
    run_dirs = [RunDirectory(path.parent) for path in sorted(output_dir.glob("*/*/status.json"))]
    if not run_dirs:
        raise FileNotFoundError(
            f"no runs in {output_dir}: start one with `ivcprune`, or set paths.output_dir"
        )
    table = Table("experiment", box=box.SIMPLE_HEAD)
    table.add_column("run", overflow="fold")
    for name in ("state", "samples", "failed", "samples/s", "updated (UTC)"):
        table.add_column(name)
    for run_dir in run_dirs:
        status = run_dir.read_status()
        if status is not None:
            table.add_row(
                run_dir.path.parent.name,
                run_dir.path.name,
                state_of(run_dir, status),
                f"{status.done}/{status.total}",
                str(status.errors),
                number(status.samples_per_second),
                status.updated.partition("+")[0].replace("T", " "),
            )
    table_console().print(table)


def state_of(run_dir: RunDirectory, status: Status) -> str:
    """The state, where "running" is believed only while a process holds the run's lock."""
    if status.state == "running" and not run_dir.is_locked():
        return "stopped"
    return status.state
