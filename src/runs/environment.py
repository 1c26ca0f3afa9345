"""What a run was computed with."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import version
from typing import Any

import torch

from .. import __version__

PACKAGES = ("torch", "transformers", "lightning", "hydra-core", "datasets")


def environment(world_size: int) -> dict[str, Any]:
    """Versions, machine and command line, for `env.json`."""
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "ivcprune": __version__,
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
        "platform": platform.platform(),
        "gpus": gpus,
        "cpu_threads": torch.get_num_threads(),
        "world_size": world_size,
        "command": sys.argv,
    }
