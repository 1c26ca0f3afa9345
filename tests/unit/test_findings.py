"""The scripts of `findings/` have their form; what they see is checked where there is a network."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "findings"
SCRIPTS = sorted(FOLDER.glob("*.sh"))


def test_there_are_scripts() -> None:
    assert len(SCRIPTS) >= 6


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_finding_tells_its_story_and_runs_without_us(path: Path) -> None:
    text = path.read_text("utf-8")
    head = text.partition("set -euo pipefail")[0]
    for part in ("# Input:", "# Expected:", "# Seen:", "# Documented:", "# Output seen:\n#> "):
        assert part in head
    assert os.access(path, os.X_OK)
    assert "ivcprune" not in text
    (packages,) = re.findall(r"pip\" install .*?disable-pip-version-check (.*?) >", text)
    names = [word for word in packages.split() if not word.startswith("--")]
    assert names
    assert all(re.fullmatch(r"[\w-]+==[\d.]+", name) for name in names)
    title = head.splitlines()[1].lower()
    assert any(name.replace("==", " ") in title for name in names)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_readme_says_what_each_means(path: Path) -> None:
    assert f"[{path.stem}]({path.name})" in (FOLDER / "README.md").read_text("utf-8")
