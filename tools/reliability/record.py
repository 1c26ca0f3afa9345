"""What a session of kills and faults came to, as JSON."""

from __future__ import annotations

import json
import os
import platform
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers

from ivcprune import __version__

from .kills import KillResult
from .trial import FaultResult


@dataclass
class Record:
    """Of one session; see `reliability.json`.

    Attributes:
        mounts: whether the faults of a disk were among the faults.
        seconds: the session took.
    """

    seed: int
    mounts: bool
    kills: list[KillResult] = field(default_factory=list)
    faults: list[FaultResult] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def problems(self) -> list[str]:
        """What did not hold."""
        problems = [kill.problem for kill in self.kills] + [fault.problem for fault in self.faults]
        return [problem for problem in problems if problem is not None]

    def in_words(self) -> str:
        """One line."""
        return (
            f"{len(self.kills)} kills, {len(self.faults)} faults, {len(self.problems)} problems, "
            f"{self.seconds:.0f} s"
        )

    def write(self, folder: Path) -> None:
        """`reliability.json` in `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self._content(), indent=1) + "\n"
        (folder / "reliability.json").write_text(text, encoding="utf-8")

    def _content(self) -> dict[str, Any]:
        kinds = Counter(result.fault for result in self.faults)
        failed = Counter(r.fault for r in self.faults if r.problem is not None)
        return {
            "seed": self.seed,
            "seconds": round(self.seconds),
            "machine": {
                "cpus": os.cpu_count(),
                "processor": platform.machine(),
                "system": platform.system(),
                "python": platform.python_version(),
                "torch": torch.__version__,
                "transformers": transformers.__version__,
                "ivcprune": __version__,
            },
            "kills": len(self.kills),
            "faults": len(self.faults),
            "faults_by_kind": {
                kind: {"tried": n, "problems": failed[kind]} for kind, n in sorted(kinds.items())
            },
            "faults_of_a_disk": self.mounts,
            "problems": self.problems,
            "each_kill": [asdict(result) for result in self.kills],
            "each_fault": [asdict(result) for result in self.faults],
        }
