"""Rounds in which all runs take turns, each written down as it ends, so that a stop loses one."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .plan import Case, Run

Ask = Callable[[str, Case, Run], dict[str, Any]]
"""What to read ("time" or "peak"), in which case, of which run."""


class Journal:
    """Rounds of measurements with the same facts, in a file of JSON lines."""

    def __init__(self, file: Path, facts: dict[str, Any]) -> None:
        """Raises:
        ValueError: the file has rounds of another build, machine or version.
        """
        self._file, self._rounds = file, list[dict[str, Any]]()
        if file.exists():
            lines = [json.loads(line) for line in file.read_text().splitlines()]
            before, self._rounds = lines[0], lines[1:]
            if before != facts:
                told = [name for name in facts if facts[name] != before.get(name)]
                raise ValueError(
                    f"{file} has rounds with another {', '.join(told) or 'set of facts'}: go on "
                    "there, or delete the file to begin anew"
                )
        else:
            self._write(facts)

    def of(self, case: Case, do: str) -> list[dict[str, Any]]:
        """Readings by the name of their run, for each round of a case that has ended."""
        found = (x for x in self._rounds if (x["case"], x["do"]) == (case.name, do))
        return [one["readings"] for one in found]

    def add(self, case: Case, do: str, readings: dict[str, Any]) -> None:
        self._rounds.append({"case": case.name, "do": do, "readings": readings})
        self._write(self._rounds[-1])

    def _write(self, line: dict[str, Any]) -> None:
        with self._file.open("a") as file:
            file.write(json.dumps(line) + "\n")


def measure(
    case: Case, runs: Sequence[Run], do: str, rounds: int, ask: Ask, journal: Journal
) -> list[dict[str, Any]]:
    """As many rounds as are wanted, those of the journal among them.

    Every second round goes backwards, so that none always comes after the same. Before the first,
    each run answers once, unread: weights are read, caches filled, kernels chosen.
    """
    done = len(journal.of(case, do))
    if done < rounds:
        for run in runs:
            ask(do, case, run)
    for number in range(done, rounds):
        ordered = runs if number % 2 == 0 else runs[::-1]
        journal.add(case, do, {run.name: ask(do, case, run) for run in ordered})
        print(f"{case.name}: {do}, round {number + 1} of {rounds}", flush=True)
    return journal.of(case, do)[:rounds]
