"""The published selections, and the command that checks a folder of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import published_rules as rules
from ivcprune.testing import golden

FOLDER = Path(__file__).parents[1] / "data" / "golden"
CASES = [
    pytest.param(family, case, id=case["id"])
    for family, cases in json.loads((FOLDER / "index.json").read_text())["families"].items()
    for case in cases
]


@pytest.mark.parametrize(("family", "case"), CASES)
def test_published_selection(family, case):
    with np.load(FOLDER / f"{family}.npz") as arrays:
        kept = golden.FAMILIES[family].select(case, arrays)
        expected = arrays[f"{case['id']}/keep_img"].tolist()
    assert len(kept) == case["n_kept_img"]
    assert kept == expected or case.get("ivc_tie")


@pytest.mark.parametrize(("family", "case"), CASES)
def test_the_oracle_of_our_own_runs_is_right(family, case):
    """Command-line runs are held to `published_rules`, which is held to the published code here."""
    start, length, name = case["img_start"], case["img_len"], case["id"]
    visual = range(start, start + length)
    with np.load(FOLDER / f"{family}.npz") as stored:
        arrays = {key.partition("/")[2]: stored[key] for key in stored if key.startswith(name)}
    positions = arrays.get("position_ids", np.arange(case["S"])[None]).astype(float)[:, visual]
    frequencies = case["rope_theta"] ** -(np.arange(0, case["rope_dim"], 2) / case["rope_dim"])
    skip = 1 if family == "deepseekvl2" else 2
    image = rules.Image(
        arrays["values"].astype(float),
        visual,
        range(start + length + skip, case["S"]),
        *rules.coordinate_scores(positions, frequencies),
    )
    if family == "internvl25":
        kept = rules.internvl(image, 16, case["aspect_wh"][0])
    elif family == "deepseekvl2":
        newlines = range(14, 210, 15)
        eligible = set(range(210)) - set(newlines) - set(arrays["padding"].tolist())
        kept = rules.deepseek_vl2(image, 14, case["tiles_wh"], sorted(eligible))
    else:
        kept = {"llava15": rules.llava, "qwen25vl": rules.qwen}[family](image)
    assert sorted(kept) == arrays["keep_img"].tolist() or case.get("ivc_tie")


def test_command(capsys):
    assert golden.main([str(FOLDER)]) == 0
    assert capsys.readouterr().out == "deepseekvl2 4/4\ninternvl25 4/4\nllava15 4/4\nqwen25vl 7/7\n"


def test_command_fails_on_a_mismatch(tmp_path, capsys):
    with np.load(FOLDER / "qwen25vl.npz") as arrays:
        changed = dict(arrays)
    changed["q01/keep_img"] = changed["q01/keep_img"][1:]
    np.savez(tmp_path / "qwen25vl.npz", **changed)
    index = json.loads((FOLDER / "index.json").read_text())
    index["families"] = {"qwen25vl": index["families"]["qwen25vl"]}
    (tmp_path / "index.json").write_text(json.dumps(index))
    assert golden.main([str(tmp_path)]) == 1
    assert "mismatch: q01" in capsys.readouterr().out


def test_command_without_cases(tmp_path, capsys):
    assert golden.main([str(tmp_path)]) == 1
    assert "holds no index.json" in capsys.readouterr().err
