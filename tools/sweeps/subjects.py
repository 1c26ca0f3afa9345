"""What is measured: each subject runs shared and separate, and says what it answered."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ivcprune import load_policy, prune, shared_prefix
from ivcprune.efficiency.subjects import Subject
from ivcprune.policy import PruningPolicy

DEMO = ("none", "ivc_prune", "foreground_only", "foreground_random", "fastv", "fastv_ivc", "pdrop",
        "random")  # fmt: skip
MODES = ("separate", "shared")
OTHER = "other"


@dataclass(frozen=True)
class Reading:
    """Seconds of one round, by the clock on the wall and of the CPU."""

    wall: float
    cpu: float


class Policies:
    """Policies on one batch of a model that is loaded."""

    def __init__(
        self, subject: Subject, policies: Sequence[PruningPolicy], visual: int, new_tokens: int
    ) -> None:
        self._model = subject.load("sdpa")
        self._model.generation_config.eos_token_id = None
        inputs = subject.inputs(visual, 60, 1)
        device = next(self._model.parameters()).device
        self._inputs: dict[str, Any] = {name: x.to(device) for name, x in inputs.items()}
        self._policies, self._new_tokens = list(policies), new_tokens

    def run(self, mode: str) -> tuple[Reading, list[list[int]]]:
        """One round: what it took, and the answer under each policy."""
        wall, cpu = time.perf_counter(), time.process_time()
        answers = self.shared() if mode == "shared" else self.separate()
        return Reading(time.perf_counter() - wall, time.process_time() - cpu), answers

    def separate(self) -> list[list[int]]:
        return [self._answer(policy) for policy in self._policies]

    def shared(self) -> list[list[int]]:
        shared = shared_prefix(self._model, self._policies)
        answers: dict[int, list[int]] = {}
        for number in shared.order:
            with shared.turn(number):
                answers[number] = self._answer(self._policies[number])
        return [answers[number] for number in range(len(self._policies))]

    @torch.inference_mode()
    def _answer(self, policy: PruningPolicy) -> list[int]:
        with prune(self._model, policy) as run:
            run.identify(["sample"])
            options = {"max_new_tokens": self._new_tokens, "min_new_tokens": self._new_tokens}
            ids = self._model.generate(**self._inputs, **options, do_sample=False)
        answer: list[int] = ids[0, self._inputs["input_ids"].shape[1] :].tolist()
        return answer


def of_demo(family: str) -> list[PruningPolicy]:
    """The demo's policies, at half of the tokens."""
    budget = "average_tokens=0.5"
    return [load_policy(n, *([budget] if n != "none" else []), family=family) for n in DEMO]


def of_layers(family: str, depth: int) -> list[PruningPolicy]:
    """IVC-Prune at each layer but the first."""
    layers = range(1, depth)
    return [load_policy("ivc_prune", f"stages.select.layer={i}", family=family) for i in layers]


def peak_mib(mode: str, new_tokens: int) -> float:
    """Peak memory of a process that computes the eight policies, or vanilla alone, in MiB.

    Args:
        mode: "shared", or "one".
    """
    command = [sys.executable, "-m", "tools.sweeps.peak", mode, str(new_tokens)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def own_peak_mib() -> float:
    """Of this process: of the GPU where there is one, else resident memory."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def whole_command(mode: str, limit: int, other: str | None = None) -> Reading:
    """The demo's sweep as a user starts it, imports and loading included, in a new folder.

    Args:
        mode: "shared" or "separate"; "other": as the program `other` does it by default.
        limit: samples.
        other: the `ivcprune` of another checkout.
    """
    with tempfile.TemporaryDirectory() as folder:
        is_other = mode == OTHER
        command = [
            *([str(other)] if is_other else [sys.executable, "-m", "ivcprune"]),
            *("--multirun", "experiment=demo", *([] if is_other else [f"sweep={mode}"])),
            *(f"data.limit={limit}", f"paths.output_dir={Path(folder) / 'out'}"),
        ]
        wall, before = time.perf_counter(), os.times()
        subprocess.run(command, capture_output=True, check=True)
        after = os.times()
    cpu = after.children_user - before.children_user + after.children_system
    return Reading(time.perf_counter() - wall, cpu - before.children_system)
