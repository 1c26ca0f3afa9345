"""What a run is asked and what it says, as JSON lines between processes."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor


class Clock:
    """Reads the wall's and the CPU's time after each token: a stopping criterion that never stops.

    It is called the same way by all versions of transformers.
    """

    def __init__(self) -> None:
        self.stamps = [_now()]

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        self.stamps.append(_now())
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)

    def spent(self) -> dict[str, list[float]]:
        """Seconds from the call to its first token, and from there to the last: wall, CPU."""
        start, first, last = self.stamps[0], self.stamps[1], self.stamps[-1]
        prefill = [b - a for a, b in zip(start, first, strict=True)]
        return {"prefill": prefill, "decode": [b - a for a, b in zip(first, last, strict=True)]}


def _now() -> tuple[float, float]:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter(), time.process_time()


@dataclass(frozen=True)
class Answer:
    """Of one batch.

    Attributes:
        ids: new tokens of each sample.
        kept: slots of the visual tokens that are left, of each sample; None where each layer and
            head keeps others, or nothing is pruned.
    """

    ids: list[list[int]]
    kept: list[list[int]] | None


class Side(Protocol):
    """One side's loaded model."""

    def answer(
        self, variant: str, inputs: dict[str, Tensor], clock: Clock, new_tokens: int
    ) -> Answer: ...


def batch_of(inputs: dict[str, Tensor], start: int, size: int) -> dict[str, Tensor]:
    """Some samples of several that each have one image of the same size."""
    total = len(inputs["input_ids"])
    chosen = {}
    for name, tensor in inputs.items():
        of_sample = len(tensor) // total  # pixel values have many rows for each sample
        chosen[name] = tensor[start * of_sample : (start + size) * of_sample]
    return chosen


def answer_all(side: Side, asked: dict[str, Any], inputs: dict[str, Tensor]) -> dict[str, Any]:
    """Answer the samples batch by batch.

    Args:
        asked: "variant", "batch", "samples", "new_tokens".

    Returns:
        "seconds" with `[wall, CPU]` of "prefill", "decode" and "total", summed over the batches;
        "answers" and "kept" of each sample.
    """
    seconds = {part: [0.0, 0.0] for part in ("prefill", "decode", "total")}
    answers: list[list[int]] = []
    kept: list[list[int]] = []
    for start in range(0, asked["samples"], asked["batch"]):
        batch = batch_of(inputs, start, asked["batch"])
        gc.collect()
        clock = Clock()
        answer = side.answer(asked["variant"], batch, clock, asked["new_tokens"])
        end = _now()
        spent = clock.spent() | {
            "total": [b - a for a, b in zip(clock.stamps[0], end, strict=True)]
        }
        for part, values in spent.items():
            seconds[part] = [a + b for a, b in zip(seconds[part], values, strict=True)]
        answers += answer.ids
        kept += answer.kept or []
    return {"seconds": seconds, "answers": answers, "kept": kept or None}


def peak_above(call: Callable[[], object]) -> float:
    """MiB by which a call's peak memory lies above what there was before it.

    Of the GPU where there is one; else resident memory, whose peak Linux lets a process reset.
    """
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    Path("/proc/self/clear_refs").write_text("5")
    before = _kib("VmRSS")
    call()
    return (_kib("VmHWM") - before) / 2**10


def _kib(field: str) -> int:
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1])


def serve(load: Callable[[Path], Side], read: Callable[[Path], dict[str, Tensor]]) -> None:
    """Say the versions, then answer requests from standard input until it ends, a line each.

    Standard output belongs to the replies: what libraries print goes to standard error.
    """
    torch.set_num_threads(int(os.environ["PEERS_THREADS"]))
    folder = Path(os.environ["PEERS_FOLDER"])
    with os.fdopen(os.dup(1), "w") as replies, contextlib.redirect_stdout(sys.stderr):
        side = load(folder)
        print(json.dumps(_versions()), file=replies, flush=True)
        for line in sys.stdin:
            asked = json.loads(line)
            inputs = read(folder / f"inputs_{asked['visual']}.safetensors")
            print(json.dumps(_reply(side, asked, inputs)), file=replies, flush=True)


def _versions() -> dict[str, str]:
    return {name: sys.modules[name].__version__ for name in ("torch", "transformers")}


def _reply(side: Side, asked: dict[str, Any], inputs: dict[str, Tensor]) -> dict[str, Any]:
    with torch.inference_mode():
        if asked["do"] == "peak":
            return {"mib": peak_above(lambda: answer_all(side, asked, inputs))}
        return answer_all(side, asked, inputs)
