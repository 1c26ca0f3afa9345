"""What a run was computed with."""

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

GIT_TIMEOUT = 10.0  # seconds
PACKAGES = ("torch", "transformers", "lightning", "hydra-core", "datasets")


def environment(world_size: int) -> dict[str, Any]:
    """Versions, commit, machine and command line, for `env.json`."""
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "ivcprune": __version__,
        **checkout(Path(__file__).parent),
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
        "platform": platform.platform(),
        "gpus": gpus,
        "cpu_threads": torch.get_num_threads(),
        "world_size": world_size,
        "command": sys.argv,
    }


def checkout(folder: Path) -> dict[str, Any]:
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
