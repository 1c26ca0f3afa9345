"""Kills and disturbs runs, checks that nothing is lost, and writes down how it went.

python -m tools.reliability --kills 20 --faults 200 --seed 0 --output results/reliability
"""

from __future__ import annotations

import argparse
import io
import logging
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from random import Random

from .disk import INSIDE, can_mount, enter_namespace
from .faults import FAULTS, NEED_DISK
from .kills import KillResult, kill_and_resume
from .record import Record
from .trial import FaultResult, reference_samples, try_fault
from .workload import Workload

MODULE = "tools.reliability"

SIZE = 23
"""Samples of a run that a fault disturbs; neither batches nor ranks divide it."""

KILL_SIZE = 101
"""Samples of a run that is killed, which so lasts some seconds."""


def main() -> None:
    """Exits with 1 where something that is promised did not hold."""
    options = _options()
    if options.inside_namespace or not options.faults:
        mounts = options.inside_namespace
    elif mounts := can_mount():
        enter_namespace(MODULE, sys.argv[1:])
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ivcprune-reliability-") as folder:
        record = Record(seed=options.seed, mounts=mounts)
        record.faults = list(_try_faults(Path(folder) / "faults", options, mounts))
        record.kills = list(_try_kills(Path(folder) / "kills", options))
    record.seconds = time.monotonic() - started
    record.write(options.output)
    print(record.in_words())
    sys.exit(1 if record.problems else 0)


def _try_faults(folder: Path, options: argparse.Namespace, mounts: bool) -> Iterator[FaultResult]:
    """The kinds of faults in turn, each time at another moment."""
    if not options.faults:
        return
    kinds = [name for name in options.kinds if mounts or name not in NEED_DISK]
    if len(kinds) < len(options.kinds):
        print("without mount namespaces, these are left out:", ", ".join(sorted(NEED_DISK)))
    workload = Workload(folder, SIZE)
    workload.write()
    with _quiet():
        reference = reference_samples(workload, folder / "undisturbed")
    for i in range(options.faults):
        kind = kinds[i % len(kinds)]
        with _quiet():
            result = try_fault(workload, reference, kind, options.seed * 100_000 + i)
        _tell(f"fault {i + 1}/{options.faults} {kind}", result.problem)
        yield result


def _try_kills(folder: Path, options: argparse.Namespace) -> Iterator[KillResult]:
    if not options.kills:
        return
    workload = Workload(folder, KILL_SIZE)
    workload.write()
    with _quiet():
        reference = reference_samples(workload, folder / "undisturbed")
    # So that the processes which were started are ended, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    for i, result in enumerate(
        kill_and_resume(workload, reference, options.kills, Random(options.seed))
    ):
        _tell(
            f"kill {i + 1}/{options.kills} ({result.victims}, {result.rows} rows)", result.problem
        )
        yield result


def _tell(what: str, problem: str | None) -> None:
    print(what, "ok" if problem is None else f"FAILED\n{problem}", flush=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the output of runs."""
    logging.getLogger().setLevel(logging.CRITICAL)
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        yield


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"python -m {MODULE}", description=__doc__)
    parser.add_argument("--kills", type=int, default=20, help="SIGKILLs of two-process runs")
    parser.add_argument("--faults", type=int, default=200, help="injected faults")
    parser.add_argument("--kinds", nargs="+", choices=list(FAULTS), default=list(FAULTS))
    parser.add_argument("--seed", type=int, default=0, help="of all moments")
    parser.add_argument("--output", type=Path, default=Path("results/reliability"))
    parser.add_argument(INSIDE, action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
