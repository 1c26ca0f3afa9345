"""The programs of `examples/` run, and README shows the first one and what it prints."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ivcprune.data.scenes import load_scenes

CHECKOUT = Path(__file__).parents[2]
EXAMPLES = CHECKOUT / "examples"
README = (CHECKOUT / "README.md").read_text("utf-8")


def test_the_complete_program_prints_what_readme_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)  # it caches its scenes here
    runpy.run_path(str(EXAMPLES / "prune_a_picture.py"))
    (printed,) = re.findall(r"prints\n\n```text\n(.*?)```", README, re.DOTALL)
    assert capsys.readouterr().out == printed
    source = (EXAMPLES / "prune_a_picture.py").read_text("utf-8")
    assert source.partition('"""\n\n')[2] in README


def test_kept_tokens_of_ones_own_picture_are_drawn(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scene = load_scenes("test", size=2, seed=0, cache_dir=tmp_path)[0]
    image = scene["images"][0].convert("RGB")
    image.save(tmp_path / "scene.png")
    output = tmp_path / "kept.png"
    arguments = [str(tmp_path / "scene.png"), scene["question"], str(output)]
    monkeypatch.setattr("sys.argv", ["draw_kept_tokens.py", *arguments])
    runpy.run_path(str(EXAMPLES / "draw_kept_tokens.py"))
    assert capsys.readouterr().out == f"35 7 70 35: 27 of 54 tokens kept, drawn in {output}\n"
    with Image.open(output) as drawn:
        same = (np.asarray(drawn) == np.asarray(image)).all(axis=2)
    # 252 x 168 pixels in 9 x 6 tokens of 28 pixels: half of the cells are as they were
    cells = same.reshape(6, 28, 9, 28).all(axis=(1, 3))
    assert cells.sum() == 27


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_readme_links_every_example(path: Path) -> None:
    assert f"](examples/{path.name})" in README
