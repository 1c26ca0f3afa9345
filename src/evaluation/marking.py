"""Which runs get a mark that their command has nothing left to compute; see `runs.finished`."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Protocol, runtime_checkable

from ..data.sources import Source
from ..models.checkpoint import NEEDED, Checkpoint, locate
from ..provenance.modules import path_of
from ..report.loggers import NoLogger
from ..runs.finished import mark
from .preparation import Plan

NO_JUDGE = "none"


@runtime_checkable
class Local(Protocol):
    """A source that knows all files which its samples follow from."""

    def files(self) -> list[Path] | None:
        """None: not all of them are on this machine."""


def leave_mark(plan: Plan) -> None:
    """Marks a run without failures, unless a judge, a run logger or the data may still change.

    A judge may be asked again for what it left open, and a logger for what it did not take.
    """
    data = _files_of_data(plan.data.source)
    if data is None or plan.judge.name != NO_JUDGE or not isinstance(plan.logger, NoLogger):
        return
    code = [path for name in plan.origin.code if (path := path_of(name)) is not None]
    weights = _files_of_weights(locate(plan.spec.path, plan.spec.revision), plan.spec.revision)
    with suppress(FileNotFoundError):  # a file that has just been removed: no mark
        run = plan.run_dir.path
        mark(run.parent, plan.origin.as_config(), run, [*code, *weights, *data])


def _files_of_data(source: Source) -> list[Path] | None:
    return source.files() if isinstance(source, Local) else None


def _files_of_weights(checkpoint: Checkpoint, revision: str | None) -> list[Path]:
    """All files of a checkpoint, and of one in the hub's cache what says which commit is meant."""
    files = [path for pattern in NEEDED for path in checkpoint.folder.glob(pattern)]
    reference = checkpoint.folder.parent.parent / "refs" / (revision or "main")
    return [*files, reference] if checkpoint.commit and reference.is_file() else files
