"""A small benchmark of ragged samples, sweeps over it from the command line, and their files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ivcprune import cli
from ivcprune.testing.inputs import picture

DEMO = ("none", "ivc_prune", "foreground_only", "foreground_random", "fastv", "fastv_ivc", "pdrop",
        "random")  # fmt: skip
SIZES = ([(140, 112)], [(84, 112), (196, 140)], [(56, 168)], [(112, 84)], [(168, 140), (84, 84)])
"""(width, height) of the pictures of each sample."""

PAIRS = """
defaults:
  - source/file@_here_
  - _self_
name: pairs
task: vqa
path: {folder}/pairs.jsonl
image_folder: {folder}
columns: {{image: pictures, question: question, answer: answer}}
"""
OF_ITS_OWN = ("status.json", "log.txt", ".rank00.lock")
"""Files of times and processes."""
TIMES = ("seconds", "samples_per_second")


def write_pairs(folder: Path) -> list[str]:
    """Writes samples of one or two pictures; returns the arguments that name them."""
    (folder / "data").mkdir(parents=True)
    rows = []
    for i, sizes in enumerate(SIZES):
        names = [f"{i}_{j}.png" for j in range(len(sizes))]
        for j, (name, size) in enumerate(zip(names, sizes, strict=True)):
            picture(*size, seed=10 * i + j).save(folder / name)
        rows.append({"pictures": names, "question": "what is it " * (i + 1), "answer": "a cat"})
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "pairs.jsonl").write_text(lines)
    (folder / "data" / "pairs.yaml").write_text(PAIRS.format(folder=folder))
    return [f"--config-dir={folder}", "data=pairs", f"paths.cache_dir={folder / 'cache'}"]


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The exit code of `ivcprune <arguments>`, in this process."""
    with monkeypatch.context() as patch:
        patch.setattr("sys.argv", ["ivcprune", *arguments])
        try:
            cli.main()
        except SystemExit as stop:
            return int(stop.code or 0)
    return 0


def contents(outputs: Path) -> dict[str, Any]:
    """What the runs below a folder left, by path; without times, and without the folder's name."""
    files = {}
    for path in sorted(outputs.rglob("*")):
        name = str(path.relative_to(outputs))
        if path.is_dir() or path.name in (*OF_ITS_OWN, "multirun.yaml"):
            continue
        content: Any = path.read_bytes()
        if path.name in ("config.yaml", "overrides.txt", "env.json"):
            content = content.replace(str(outputs).encode(), b"")
            content = content.replace(b"separate", b"shared")
        if path.name == "metrics.json":
            figures = json.loads(content)
            content = {k: v for k, v in figures.items() if k not in TIMES}
        files[name] = content
    return files


def run_of(outputs: Path, policy: str) -> Path:
    """The folder of a policy's only run."""
    (folder,) = outputs.glob(f"default/{policy}-*")
    return folder


def status(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "status.json").read_text())
    return found
