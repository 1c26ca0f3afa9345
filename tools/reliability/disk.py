"""A disk of its own for a run: small, full, or read-only; real ones, in a mount namespace."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]
"""Within, this user may mount; nobody else sees it, and it vanishes with the process."""

INSIDE = "--inside-namespace"
"""Argument of a process that is in such a namespace already."""

ROOMY = 65536
"""Kibibytes; more than any run of the workload needs."""


def can_mount() -> bool:
    """Whether this system lets its users have mount namespaces."""
    if shutil.which("unshare") is None:
        return False
    probe = subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False)
    return probe.returncode == 0


def enter_namespace(module: str, arguments: Sequence[str]) -> None:
    """Replaces this process by `python -m module` in a mount namespace."""
    command = [*NAMESPACE, sys.executable, "-m", module, INSIDE, *arguments]
    os.execvp(command[0], command)


@contextmanager
def own_disk(folder: Path) -> Iterator[None]:
    """Within, `folder` is a disk in memory, of `ROOMY`; what is on it is lost at the end."""
    folder.mkdir(parents=True)
    _mount("-t", "tmpfs", "-o", f"size={ROOMY}k", "none", folder)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def resize(folder: Path, kibibytes: int) -> None:
    """Gives the disk `folder` another size."""
    _mount("-o", f"remount,size={kibibytes}k", folder)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Within, nothing can be written to the disk `folder`."""
    _mount("-o", "remount,ro", folder)
    try:
        yield
    finally:
        _mount("-o", "remount,rw", folder)


def _mount(*arguments: object) -> None:
    subprocess.run(["mount", *map(str, arguments)], check=True)
