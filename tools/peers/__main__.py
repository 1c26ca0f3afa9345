"""`python -m tools.peers --published FOLDER`: ours beside its peers on the same weights, in turns.

Every side has a process of its own, with its own versions; a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import torch

import ivcprune
from ivcprune.runs.environment import timing_environment

from .material import write
from .page import page
from .plan import CASES, LAYER, NEW_TOKENS, TEXT, Case, Run
from .rounds import Journal, measure
from .sides import COMMIT, REPOSITORY, Process, Processes, Side, sides
from .summary import summary

PEAK_ROUNDS = 2
EACH_BLOCK_FOR_ITSELF = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}
"""glibc hands freed memory back at once, so that a peak is of what is in use; costs time."""


def _ask(processes: Processes, do: str, case: Case, run: Run) -> dict[str, Any]:
    return processes[run.side].ask(do, case, run)


def _read(
    found: dict[str, Side], cases: list[Case], do: str, rounds: int, journal: Journal, **more: Any
) -> dict[str, list[dict[str, Any]]]:
    """Rounds of each case, by its name."""
    with ExitStack() as block:
        processes = {name: block.enter_context(Process(x, **more)) for name, x in found.items()}
        read = {}
        for case in cases:
            runs = [run for run in case.runs if run.side in found]
            ask = partial(_ask, processes)
            read[case.name] = measure(case, runs, do, rounds, ask, journal)
        return read


def _digest_of_package() -> str:
    """Of all that is measured of ours, so that rounds of two builds do not mix."""
    folder = Path(ivcprune.__file__).parent
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _facts(found: dict[str, Side], threads: int, work: Path) -> dict[str, Any]:
    versions = {}
    for name, side in found.items():
        with Process(side, work, threads) as process:
            versions[name] = process.versions
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return {
        "code": _digest_of_package(),
        "versions": versions,
        "published": f"{REPOSITORY} {COMMIT}",
        "layer": LAYER,
        "new_tokens": NEW_TOKENS,
        "text_tokens": TEXT,
        **timing_environment(device),
    }


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    cases: list[Case] = options.cases
    wanted = dict.fromkeys(run.side for case in cases for run in case.runs)
    try:
        found, missing = sides(wanted, options.published)
    except ValueError as error:
        raise SystemExit(str(error)) from None
    for name, reason in missing.items():
        print(f"{name}: LEFT OUT: {reason}", flush=True)
    work: Path = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    write(work, CASES.values())
    facts = _facts(found, options.threads, work)
    journal = Journal(work / "rounds.jsonl", facts)
    given = {"folder": work, "threads": options.threads}
    times = _read(found, cases, "time", options.rounds, journal, **given)
    peaks = _read(found, cases, "peak", PEAK_ROUNDS, journal, **given, **EACH_BLOCK_FOR_ITSELF)
    record = {"command": "python -m tools.peers", "facts": facts, "left_out": missing}
    record["cases"] = {c.name: summary(c, times[c.name], peaks[c.name]) for c in cases}
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "peers.json").write_text(json.dumps(record, indent=1) + "\n")
    (options.output / "README.md").write_text(page(record))
    print(page(record))


def _case(name: str) -> Case:
    if name not in CASES:
        raise argparse.ArgumentTypeError(f"no case {name!r}: choose of {', '.join(CASES)}")
    return CASES[name]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.peers", description=__doc__)
    parser.add_argument("cases", nargs="*", type=_case, default=list(CASES.values()))
    parser.add_argument("--published", type=Path, help=f"a checkout of {REPOSITORY}")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--work", type=Path, default=Path("outputs/peers"))
    parser.add_argument("--output", type=Path, default=Path("results/peers"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
