"""What commands do without: PyTorch, Transformers and Lightning take seconds to import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "transformers", "lightning", "datasets", "wandb")
PROGRAM = f"""
import sys
from ivcprune.cli import main
sys.argv = ["ivcprune", *sys.argv[1:]]
try:
    main()
except SystemExit as stop:
    print(stop.code)
print("imported", sorted(set({HEAVY}) & set(sys.modules)))
"""


def run(folder: Path, *arguments: str) -> str:
    """What the command prints, and after it which heavy packages it imported."""
    command = [sys.executable, "-c", PROGRAM, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True).stdout


@pytest.mark.parametrize(
    ("arguments", "ending"),
    [
        (["--help"], "imported []"),
        (["job=report"], "2\nimported []"),  # of an experiment without runs
        (["job=status"], "2\nimported []"),
        (["data.limit=ten"], "2\nimported []"),
    ],
)
def test_it_starts_without_heavy_packages(
    tmp_path: Path, arguments: list[str], ending: str
) -> None:
    assert run(tmp_path, *arguments).endswith(ending + "\n")


def test_a_page_is_drawn_without_pytorch() -> None:
    modules = "ivcprune.report.html, ivcprune.report.gallery, ivcprune.report.paper.job"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
