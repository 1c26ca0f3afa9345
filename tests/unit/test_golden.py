"""The published selections, and the command that checks a folder of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ivcprune.testing import golden

FOLDER = Path(__file__).parents[1] / "data" / "golden"
CASES = json.loads((FOLDER / "index.json").read_text())["families"]["qwen25vl"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_published_selection(case):
    with np.load(FOLDER / "qwen25vl.npz") as arrays:
        kept = golden.FAMILIES["qwen25vl"].select(case, arrays)
        expected = arrays[f"{case['id']}/keep_img"].tolist()
    assert len(kept) == case["n_kept_img"]
    assert kept == expected or case["ivc_tie"]


def test_command(capsys):
    assert golden.main([str(FOLDER)]) == 0
    assert capsys.readouterr().out == f"qwen25vl {len(CASES)}/{len(CASES)}\n"


def test_command_fails_on_a_mismatch(tmp_path, capsys):
    with np.load(FOLDER / "qwen25vl.npz") as arrays:
        changed = dict(arrays)
    changed["q01/keep_img"] = changed["q01/keep_img"][1:]
    np.savez(tmp_path / "qwen25vl.npz", **changed)
    (tmp_path / "index.json").write_text((FOLDER / "index.json").read_text())
    assert golden.main([str(tmp_path)]) == 1
    assert "mismatch: q01" in capsys.readouterr().out


def test_command_without_cases(tmp_path, capsys):
    assert golden.main([str(tmp_path)]) == 1
    assert "holds no index.json" in capsys.readouterr().err
