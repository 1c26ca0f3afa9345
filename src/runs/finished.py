"""Marks of finished runs: whether a command has nothing left to compute, told without PyTorch.

Importing what a run is made of and hashing its weights takes seconds, also where all samples turn
out to be there. So a run that ends well leaves a mark in the cache: what it was asked for, and the
size and time of every file that its key and its samples follow from. Where one of them differs, or
may, there is no mark, and the run goes the long way, which decides.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from .. import __version__
from .storage import replacing

FOLDER = "finished"
"""Of the cache, `paths.cache_dir`; removing it is safe."""
PACKAGES = ("torch", "transformers", "datasets", "lightning", "hydra-core")
OF_A_RUN = ("status.json", "metrics.json", "samples.parquet", "samples/*.jsonl")
"""What is left of a run must be as it was: who deletes rows wants them computed anew."""


def mark(experiment: Path, cfg: DictConfig, run: Path, files: Iterable[Path]) -> None:
    """Leaves a mark that this command has nothing left to compute.

    Args:
        experiment: folder of the run's directory.
        cfg: the root configuration.
        run: the run's directory.
        files: of the weights, the data and the code that the run was made with.
    """
    seen = [path.resolve() for path in (*files, *_files_of(run))]
    content = {"run": run.name, "files": {str(path): _state(path) for path in seen}}
    with replacing(_place(experiment, cfg)) as draft:
        draft.write_text(json.dumps(content), encoding="utf-8")


def marked(experiment: Path, cfg: DictConfig) -> Path | None:
    """The directory of the run that this command asks for, if it has nothing left to compute."""
    try:
        content: dict[str, Any] = json.loads(_place(experiment, cfg).read_text("utf-8"))
        run = experiment / content["run"]
        unchanged = all(_state(Path(path)) == state for path, state in content["files"].items())
    except (OSError, ValueError, KeyError, TypeError):  # none, or a damaged one
        return None
    left = {str(path.resolve()) for path in _files_of(run)}
    return run if unchanged and left and left <= content["files"].keys() else None


def _place(experiment: Path, cfg: DictConfig) -> Path:
    asked = OmegaConf.to_container(cfg, resolve=True)
    versions = [_version(name) for name in PACKAGES]
    content = [str(experiment.resolve()), asked, __version__, list(sys.version_info[:3]), versions]
    digest = hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode())
    cache: Path = Path(cfg.paths.cache_dir).expanduser()
    return cache / FOLDER / f"{digest.hexdigest()[:16]}.json"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _files_of(run: Path) -> list[Path]:
    return sorted(path for pattern in OF_A_RUN for path in run.glob(pattern))


def _state(path: Path) -> list[int]:
    about = path.stat()
    return [about.st_size, about.st_mtime_ns]
