"""The baselines beside their authors' code, and the command that checks a folder of cases."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ivcprune import PruningPolicy, Stage
from ivcprune.api import bind
from ivcprune.pruning.pruner import Pruner
from ivcprune.selectors import Selector
from ivcprune.testing import golden, golden_baselines
from ivcprune.testing.golden_methods import METHODS
from ivcprune.testing.golden_model import OneImage, model_of
from ivcprune.tokens import Signal, VisualTokens

FOLDER = Path(__file__).parents[1] / "data" / "golden_baselines"
INDEX = json.loads((FOLDER / "index.json").read_text())["methods"]
CASES = [pytest.param(name, case, id=case["id"]) for name, cases in INDEX.items() for case in cases]


def arrays_of(name: str, case: Any) -> dict[str, Tensor]:
    with np.load(FOLDER / f"{name}.npz") as stored:
        names = [key for key in stored if key.startswith(f"{case['id']}/")]
        return {key.partition("/")[2]: torch.from_numpy(stored[key]) for key in names}


@pytest.mark.parametrize(("name", "case"), CASES)
def test_the_default_policy_is_the_authors_method(name, case):
    assert golden_baselines.differences(name, case, arrays_of(name, case)) == []


def test_every_method_has_a_case():
    assert set(INDEX) == set(METHODS)


@pytest.mark.parametrize(
    ("name", "array", "told"),
    [
        ("fastv", "logits", "logits: "),
        ("pdrop", "keep_img_1", "stage 1: "),
        ("vscan_qwen", "merged", "merged states: "),
    ],
)
def test_a_difference_is_told(name, array, told):
    (case, *_) = INDEX[name]
    arrays = arrays_of(name, case)
    changed = arrays[array].clone()
    changed[-1] += 1
    (found,) = golden_baselines.differences(name, case, {**arrays, array: changed})
    assert found.startswith(told)


def test_nan_is_no_agreement():
    (case, *_) = INDEX["divprune"]
    arrays = arrays_of("divprune", case)
    broken = {**arrays, "logits": torch.full_like(arrays["logits"], torch.nan)}
    assert golden_baselines.differences("divprune", case, broken) == ["logits: nan apart"]


@dataclass(frozen=True, eq=False)
class Reader(Selector):
    found: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    needs = frozenset({Signal.KEYS, Signal.HIDDEN})

    def select(self, tokens: VisualTokens) -> Tensor:
        span = "following_image"
        keys = torch.cat([tokens.keys(), tokens.text_keys(span)[0]], dim=2)
        text, _ = tokens.text_hidden(span, normed=True)
        states = torch.cat([tokens.hidden(normed=True), text], dim=1)
        self.found.append((keys[0].transpose(0, 1).flatten(1), states[0]))
        return tokens.valid


def test_keys_and_normed_states_are_those_that_darts_code_compares():
    (case, *_) = INDEX["dart"]
    arrays, reader = arrays_of("dart", case), Reader()
    model = model_of(case, arrays)
    family = OneImage(case["img_start"], tuple(case["grid"]))
    policy = PruningPolicy({"look": Stage(case["params"]["K"], reader)})
    with Pruner(model.model, family, bind(policy, family, model.config)), torch.no_grad():
        model.model(arrays["input_ids"][None].long(), arrays["embeddings"][None], use_cache=True)
    keys, states = reader.found[0]
    torch.testing.assert_close(keys, arrays["keys"][case["img_start"] :], atol=1e-5, rtol=1e-5)
    expected = arrays["hidden_normed"][case["img_start"] :]
    torch.testing.assert_close(states, expected, atol=1e-5, rtol=1e-5)


def part_of_the_folder(tmp_path: Path, name: str, index: Any) -> dict[str, Any]:
    """`index.json` with these methods, and the arrays of one of them, to be changed and stored."""
    (tmp_path / "index.json").write_text(json.dumps({"methods": index}))
    with np.load(FOLDER / f"{name}.npz") as stored:
        return dict(stored)


def test_command(tmp_path, capsys):
    arrays = part_of_the_folder(tmp_path, "vscan_qwen", {"vscan_qwen": INDEX["vscan_qwen"]})
    np.savez(tmp_path / "vscan_qwen.npz", **arrays)
    assert golden.main([str(tmp_path)]) == 0
    assert capsys.readouterr().out == "vscan_qwen 2/2\n"


def test_command_fails_on_a_mismatch_and_names_it(tmp_path, capsys):
    arrays = part_of_the_folder(tmp_path, "vscan_qwen", {"vscan_qwen": INDEX["vscan_qwen"]})
    case = INDEX["vscan_qwen"][0]["id"]
    arrays[f"{case}/keep_img_0"] = arrays[f"{case}/keep_img_0"][1:]
    np.savez(tmp_path / "vscan_qwen.npz", **arrays)
    assert golden.main([str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert out.startswith(f"vscan_qwen 1/2  mismatch: {case}: stage 0: ")


def test_command_names_what_it_does_not_know(tmp_path, capsys):
    part_of_the_folder(tmp_path, "fastv", {"unheard": []})
    golden.main([str(tmp_path)])
    assert "unheard skipped" in capsys.readouterr().out


def test_command_on_an_index_of_something_else(tmp_path, capsys):
    (tmp_path / "index.json").write_text("{}")
    assert golden.main([str(tmp_path)]) == 1
    assert "neither families nor methods" in capsys.readouterr().err
