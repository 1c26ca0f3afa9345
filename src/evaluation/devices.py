"""One GPU a job, for sweeps whose launcher runs several jobs of this machine at once."""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch

from ..configuration.build import TrainerPlan

FREE = "free"
"""Value of `trainer.devices`: the job takes a GPU that no other such job of this user has."""

PATIENCE = 1.0
"""Seconds between two looks for a free GPU."""


@contextmanager
def assigned(trainer: TrainerPlan) -> Iterator[TrainerPlan]:
    """The trainer with `trainer.devices=free` replaced by a GPU, held until the block ends.

    Raises:
        ValueError: there is no GPU.
    """
    if trainer.devices != FREE:
        yield trainer
        return
    names = gpu_names(torch.cuda.device_count(), os.environ.get("CUDA_VISIBLE_DEVICES"))
    if not names:
        raise ValueError(
            f"trainer.devices is {FREE!r}, but there is no CUDA GPU: choose trainer=cpu"
        )
    folder = Path(tempfile.gettempdir()) / f"ivcprune-gpus-{os.getuid()}"
    with held(names, folder) as index:
        yield trainer.on([index])


def gpu_names(count: int, visible: str | None) -> list[str]:
    """What tells the `count` GPUs of this process apart, whatever part of them others see.

    Args:
        visible: `CUDA_VISIBLE_DEVICES`, which renumbers them.
    """
    entries = [entry.strip() for entry in (visible or "").split(",") if entry.strip()]
    return (entries or [str(index) for index in range(count)])[:count]


@contextmanager
def held(names: Sequence[str], folder: Path) -> Iterator[int]:
    """Waits until one of `names` is free and holds it; the system frees it when the process dies.

    Args:
        folder: of the lock files; on this machine, since GPUs are.

    Yields:
        The index of the name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        paths = [folder / f"{re.sub(r'[^-a-zA-Z0-9]', '_', name)}.lock" for name in names]
        files = [stack.enter_context(path.open("a")) for path in paths]
        while True:
            for index, file in enumerate(files):
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                yield index
                return
            time.sleep(PATIENCE)
