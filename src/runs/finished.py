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
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from .. import __version__
from .storage import replacing

FOLDER = "finished"
"""Of the cache, `paths.cache_dir`; removing it is safe."""
PACKAGES = ("torch", "transformers", "datasets", "lightning", "hydra-core")
OURS = Path(__file__).resolve().parents[1]
"""This package: another checkout of it has marks of its own."""
State = list[int]
OF_A_RUN = ("status.json", "metrics.json", "samples.parquet", "samples/*.jsonl")
"""What is left of a run must be as it was: who deletes rows wants them computed anew."""


def mark(experiment: Path, cfg: DictConfig, run: Path, inputs: Mapping[str, State]) -> None:
    """Leaves a mark that this command has nothing left to compute.

    Args:
        experiment: folder of the run's directory.
        cfg: the root configuration.
        run: the run's directory.
        inputs: weights, data and code, as they were when the run was made (`states_of`).
    """
    content = {"run": run.name, "files": {**inputs, **states_of(_files_of(run))}}
    with replacing(_place(experiment, cfg)) as draft:
        draft.write_text(json.dumps(content), encoding="utf-8")


def marked(experiment: Path, cfg: DictConfig) -> Path | None:
    """The directory of the run that this command asks for, if it has nothing left to compute."""
    try:
        content: dict[str, Any] = json.loads(_place(experiment, cfg).read_text("utf-8"))
        run = experiment / content["run"]
        unchanged = states_of(map(Path, content["files"])) == content["files"]
    except (OSError, ValueError, KeyError, TypeError):  # none, or a damaged one
        return None
    left = states_of(_files_of(run)).keys()
    return run if unchanged and left and left <= content["files"].keys() else None


def states_of(files: Iterable[Path]) -> dict[str, State]:
    """What changes with a file: its size, and when it and its entry were last written.

    Raises:
        FileNotFoundError: one is not there.
    """
    return {str(path.resolve()): _state(path) for path in files}


def _place(experiment: Path, cfg: DictConfig) -> Path:
    asked = OmegaConf.to_container(cfg, resolve=True)
    versions = [__version__, list(sys.version_info[:3]), [_version(name) for name in PACKAGES]]
    content = [str(OURS), str(experiment.resolve()), asked, versions]
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


def _state(path: Path) -> State:
    about = path.stat()
    return [about.st_size, about.st_mtime_ns, about.st_ctime_ns]  # the last stays with no copy
