"""The sides' environments, and one long-lived process for each."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ..clients.environments import Environment, UnavailableError
from .plan import NEW_TOKENS, Case, Run

REPOSITORY = "https://github.com/FireRedTeam/IVC-Prune"
COMMIT = "03afd9cee41f60bb30b51a4105839f2b5d467814"
MODELING = Path("transformers/src/transformers/models/qwen2_5_vl/modeling_qwen2_5_vl.py")
DIGEST = "3ecab8cf62f058034bb98825516abd73848bf5a037900d60b5302e135793d350"
"""SHA-256 of `MODELING` in that commit."""
FETCH = f"""The published code is not part of this project; fetch it yourself:
  git clone {REPOSITORY} .venvs/published
  git -C .venvs/published checkout {COMMIT}
and give its folder: --published .venvs/published"""
STAND_IN = Path(__file__).parent / "stand_in"
_TORCH = ("torch==2.13.0", "torchvision==0.28.0")
PUBLISHED = Environment(
    "peers_published", ((*_TORCH, "transformers==4.51.3", "accelerate==1.15.0"),)
)
KVPRESS = Environment("peers_kvpress", ((*_TORCH, "transformers==5.2.0", "kvpress==0.5.5"),))


@dataclass(frozen=True)
class Side:
    """How the process of a side is started.

    Attributes:
        module: of this package.
        python: the interpreter.
        path: what comes first where it looks for modules.
    """

    module: str
    python: Path
    path: tuple[Path, ...] = ()


def sides(wanted: Iterable[str], published: Path | None) -> tuple[dict[str, Side], dict[str, str]]:
    """The sides that can be had here, and why the others cannot.

    Args:
        published: folder with a checkout of the published code.

    Raises:
        ValueError: that folder holds something else.
    """
    found: dict[str, Side] = {}
    missing: dict[str, str] = {}
    for name in wanted:
        try:
            found[name] = _side(name, published)
        except UnavailableError as error:
            missing[name] = str(error)
    return found, missing


def _side(name: str, published: Path | None) -> Side:
    if name == "ours":
        return Side("ours", Path(sys.executable))
    if name == "kvpress":
        KVPRESS.make()
        return Side("kvpress_side", KVPRESS.python)
    if published is None:
        raise UnavailableError(FETCH)
    check_published(published)
    PUBLISHED.make()
    fork = published.resolve() / "transformers" / "src"
    return Side("published", PUBLISHED.python, (STAND_IN, fork))


def check_published(folder: Path) -> None:
    """Raises:
    ValueError: the folder does not hold the published code of `COMMIT`.
    """
    file = folder / MODELING
    if not file.is_file():
        raise ValueError(f"--published is {str(folder)!r}, which has no {MODELING}.\n{FETCH}")
    if hashlib.sha256(file.read_bytes()).hexdigest() != DIGEST:
        raise ValueError(f"{file} is not that of commit {COMMIT[:7]}, which is compared.\n{FETCH}")


class Process:
    """A side's process, which has loaded its model; ends with the block."""

    def __init__(self, side: Side, folder: Path, threads: int, **more: str) -> None:
        """Args:
        folder: what `material.write` has written.
        more: environment variables.
        """
        paths = os.pathsep.join(map(str, side.path))
        variables = {
            "PEERS_FOLDER": str(folder),
            "PEERS_THREADS": str(threads),
            "OMP_NUM_THREADS": str(threads),
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "TRANSFORMERS_VERBOSITY": "error",
            "PYTHONPATH": paths,
        }
        self._log = folder / f"{side.module}.log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [str(side.python), "-m", f"tools.peers.{side.module}"],
                env=os.environ | variables | more,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.versions: dict[str, str] = self._reply()

    def ask(self, do: str, case: Case, run: Run) -> dict[str, Any]:
        """A reading of a run.

        Args:
            do: "time" of all samples, or "peak" of one batch.

        Raises:
            RuntimeError: the process ended.
        """
        asked = {
            "do": do,
            "variant": run.variant,
            "batch": run.batch,
            "samples": case.samples if do == "time" else run.batch,
            "visual": case.visual,
            "new_tokens": NEW_TOKENS,
        }
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended; the reply says how
            self._process.stdin.write(json.dumps(asked) + "\n")
            self._process.stdin.flush()
        return self._reply()

    def _reply(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            said = self._log.read_text(errors="replace").strip()
            raise RuntimeError(f"the process of {self._log.stem} ended:\n{said[-2000:]}")
        reply: dict[str, Any] = json.loads(line)
        return reply

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.terminate()
        self._process.communicate()


Processes = Mapping[str, Process]
