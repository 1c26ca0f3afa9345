"""A disturbed run, and what must hold of it whatever disturbed it."""

from __future__ import annotations

import shutil
import traceback
from collections.abc import Collection, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from random import Random

from ivcprune.runs.schema import SampleRow

from .disk import own_disk
from .faults import FAULTS, NEED_DISK
from .injection import witnessed
from .workload import Attempt, Row, Workload


class LossError(AssertionError):
    """A finished sample was lost, computed twice, or came out differently."""


@dataclass(frozen=True, slots=True)
class FaultResult:
    """How one fault went.

    Attributes:
        finished: samples whose rows were on the disk when the fault struck or the run ended.
        problem: what was promised and did not hold; None where everything did.
    """

    fault: str
    seed: int
    finished: int
    problem: str | None


def try_fault(workload: Workload, reference: Sequence[Row], fault: str, seed: int) -> FaultResult:
    """Disturbs a run by a fault, starts it again undisturbed, and compares it with `reference`.

    Args:
        reference: the samples of an undisturbed run of `workload`.
        seed: of the moment and the extent of the fault.
    """
    attempt = Attempt(workload, workload.folder / f"{fault}-{seed}")
    finished: Collection[str] = ()
    try:
        with own_disk(attempt.output_dir) if fault in NEED_DISK else nullcontext():
            with witnessed() as finished:
                FAULTS[fault](attempt, Random(f"{fault}-{seed}"))
            before = attempt.rows()
            check_kept(finished, before)
            attempt.start()
            check_same_rows(before, attempt.rows())
            check_same_samples(attempt.samples(), reference)
    # Whatever happens belongs into the result, and the next fault is tried.
    except Exception:
        return FaultResult(fault, seed, len(finished), traceback.format_exc())
    finally:
        shutil.rmtree(attempt.output_dir, ignore_errors=True)
    return FaultResult(fault, seed, len(finished), None)


def check_kept(finished: Collection[str], rows: Sequence[SampleRow]) -> None:
    """Every finished sample has a row."""
    kept = {row.sample_id for row in rows if row.error is None}
    if lost := sorted(set(finished) - kept):
        raise LossError(f"{len(lost)} finished samples are lost: {lost}")


def check_same_rows(before: Sequence[SampleRow], after: Sequence[SampleRow]) -> None:
    """The rows that were finished before are there, as they were: none was computed again."""
    now = {row.sample_id: row for row in after}
    changed = [
        row.sample_id for row in before if row.error is None and now.get(row.sample_id) != row
    ]
    if changed:
        raise LossError(f"{len(changed)} finished samples are lost or changed: {changed}")


def check_same_samples(samples: Sequence[Row], reference: Sequence[Row]) -> None:
    """The merged samples are those of the undisturbed run, none lost, none double."""
    if len(samples) != len(reference):
        raise LossError(f"{len(samples)} samples instead of {len(reference)}")
    for sample, expected in zip(samples, reference, strict=True):
        if sample != expected:
            raise LossError(f"a sample came out differently: {sample} instead of {expected}")


def reference_samples(workload: Workload, folder: Path) -> list[Row]:
    """The samples of an undisturbed run in one process."""
    attempt = Attempt(workload, folder)
    attempt.start()
    return attempt.samples()
