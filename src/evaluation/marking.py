"""Which runs get a mark that their command has nothing left to compute; see `runs.finished`."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from ..data.sources import Source
from ..models.checkpoint import NEEDED, Checkpoint, locate
from ..models.loading import ModelSpec
from ..provenance.modules import files_as_read
from ..report.loggers import NoLogger
from ..runs.finished import State, mark, states_of

if TYPE_CHECKING:
    from .preparation import Plan  # which imports this module

NO_JUDGE = "none"


@runtime_checkable
class Local(Protocol):
    """A source that knows the files which its table follows from."""

    def files(self) -> list[Path] | None:
        """None: not all of them are on this machine."""


def inputs_of(spec: ModelSpec, source: Source) -> dict[str, State] | None:
    """Files of weights and data as they are now; None where not all can be told.

    To be asked before any of them is read: what is replaced later is not what the run was made of.
    """
    data = source.files() if isinstance(source, Local) else None
    if data is None:
        return None
    checkpoint = locate(spec.path, spec.revision)
    return states_of([*_files_of_weights(checkpoint, spec.revision), *data])


def leave_mark(plan: Plan) -> None:
    """Marks a run without failures, unless a judge, a run logger or an input may still change.

    A judge may be asked again for what it left open, and a logger for what it did not take. Code of
    plugins may be another one under another search path, so that runs with it have no mark, and
    neither have samples whose pictures lie in files of their own.
    """
    code = files_as_read(plan.origin.code)
    if code is None or plan.inputs is None or plan.data.names_files:
        return
    if plan.judge.name != NO_JUDGE or not isinstance(plan.logger, NoLogger):
        return
    with suppress(FileNotFoundError):  # a file that has just been removed: no mark
        run, cfg = plan.run_dir.path, plan.origin.as_config()
        mark(run.parent, cfg, run, {**plan.inputs, **states_of(code)})


def _files_of_weights(checkpoint: Checkpoint, revision: str | None) -> list[Path]:
    """All files of a checkpoint, and of one in the hub's cache what says which commit is meant."""
    files = [path for pattern in NEEDED for path in checkpoint.folder.glob(pattern)]
    reference = checkpoint.folder.parent.parent / "refs" / (revision or "main")
    return [*files, reference] if checkpoint.commit and reference.is_file() else files
