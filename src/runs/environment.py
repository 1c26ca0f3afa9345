"""What a run, or a measurement of times, was computed with."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from importlib.metadata import distribution, version
from pathlib import Path
from typing import Any

import torch

from .. import __version__
from .schema import Checkout, Environment

GIT_TIMEOUT = 10.0  # seconds


def environment(world_size: int, weights: str, code: dict[str, str]) -> Environment:
    """Versions, commit, machine and command line, for `env.json`.

    Args:
        weights: their fingerprint.
        code: a digest of each module that results depend on.
    """
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "ivcprune": __version__,
        **checkout(Path(__file__).parent),
        "python": platform.python_version(),
        "torch": version("torch"),
        "transformers": version("transformers"),
        "lightning": version("lightning"),
        "hydra-core": version("hydra-core"),
        "datasets": version("datasets"),
        "platform": platform.platform(),
        "gpus": gpus,
        "cpu_threads": torch.get_num_threads(),
        "world_size": world_size,
        "command": sys.argv,
        "weights": weights,
        "code": code,
    }


def timing_environment(device: torch.device) -> dict[str, Any]:
    """What times depend on: the device itself, and versions; not who asked for them."""
    on_gpu = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if on_gpu else _processor(),
        "cpu_threads": torch.get_num_threads(),
        "ivcprune": __version__,
        "python": platform.python_version(),
        "torch": version("torch"),
        "transformers": version("transformers"),
        "cuda": torch.version.cuda if on_gpu else None,
        "system": f"{platform.system()} {platform.machine()}",
    }


def _processor() -> str:
    """The CPU as Linux names it; elsewhere what Python knows, with what PyTorch uses of it."""
    name = platform.processor()
    if (listing := Path("/proc/cpuinfo")).exists():
        lines = listing.read_text("utf-8", errors="replace").splitlines()
        models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        name = models[0] if models else name
    return f"{name or 'CPU'} ({torch.backends.cpu.get_cpu_capability()})"


def checkout(folder: Path) -> Checkout:
    """The commit that the package is of, and whether its files differ from it.

    Args:
        folder: of the package.

    Returns:
        `commit` and `dirty`; None where the package is in no checkout, or git cannot say.
    """
    if _git(folder, "ls-files", "--error-unmatch", Path(__file__).name) is None:
        return {"commit": _installed_commit(), "dirty": None}  # perhaps in somebody's environment
    changes = _git(folder, "status", "--porcelain")
    dirty = None if changes is None else changes != ""
    return {"commit": _git(folder, "rev-parse", "HEAD"), "dirty": dirty}


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=GIT_TIMEOUT)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _installed_commit() -> str | None:
    """The commit that pip installed from, which it notes (PEP 610)."""
    origin = distribution("ivcprune").read_text("direct_url.json")
    commit: str | None = json.loads(origin or "{}").get("vcs_info", {}).get("commit_id")
    return commit
