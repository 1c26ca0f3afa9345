"""A run whose replies exact rules cannot read: counted without a judge, settled with one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from omegaconf import OmegaConf
from PIL import Image

from ivcprune.configuration.build import compose
from ivcprune.jobs import predict
from judge_endpoint import completion, endpoint

# No reply of the tiny model, which knows shapes and colours, names one of these.
OPTIONS = ["a grey elephant", "a striped zebra"]


@pytest.fixture
def overrides(tmp_path: Path) -> list[str]:
    rows = []
    for group in range(3):
        file = tmp_path / f"{group}.png"
        Image.new("RGB", (56, 56), (80 * group, 0, 0)).save(file)
        for turn in (0, 1):
            rows.append(
                {
                    "index": group + 1000000 * turn,
                    "group": group,
                    "image": str(file),
                    "question": "what is it?",
                    "options": OPTIONS[::-1] if turn else OPTIONS,
                    "answer": "AB"[turn],
                }
            )
    table = tmp_path / "animals.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [
        f"paths.output_dir={tmp_path / 'outputs'}",
        f"paths.cache_dir={tmp_path / 'cache'}",
        *("batch_size=2", "threads=1", "model.max_new_tokens=3", "trainer=cpu", "overlays=0"),
    ]


def run(tmp_path: Path, overrides: list[str], *judge: str) -> dict[str, Any]:
    """`metrics.json` of the benchmark in `tmp_path`."""
    cfg = compose([*overrides, *judge])
    data = {
        "_target_": "ivcprune.data.files.FileSource",
        "path": str(tmp_path / "animals.jsonl"),
        "name": "animals",
        "task": "multiple_choice",
        "columns": {
            "id": "index",
            "group": "group",
            "image": "image",
            "question": "question",
            "choices": "options",
            "answer": "answer",
        },
        "metrics": "circular",
        "parser": "fork",
        "limit": None,
        "subset_seed": None,
    }
    OmegaConf.update(cfg, "data", OmegaConf.create(data), merge=False, force_add=True)
    predict.run(cfg)
    figures: dict[str, Any] = json.loads((run_dir(tmp_path) / "metrics.json").read_text())
    return figures


def run_dir(tmp_path: Path) -> Path:
    (path,) = (tmp_path / "outputs").glob("default/*/metrics.json")
    return path.parent


def test_a_judge_can_be_asked_later_and_goes_on_where_it_stopped(
    tmp_path: Path, overrides: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    figures = run(tmp_path, overrides)
    assert figures["judge"] == {"name": "none", "cases": 6, "settled": 0, "obstacle": None}
    assert figures["scores"]["circular_accuracy"]["value"] == 0
    assert "6 replies could not be read" in capsys.readouterr().out
    predicted = (run_dir(tmp_path) / "samples" / "rank00.jsonl").read_bytes()

    with endpoint(lambda n, body: completion("a grey elephant")) as server:
        judge = ["judge=gpt_4_1", f"judge.base_url={server.url}", "judge.api_key_variable=null"]
        figures = run(tmp_path, overrides, *judge)
        asked = len(server.requests)
        assert run(tmp_path, overrides, *judge) == figures
        assert len(server.requests) == asked > 0
    assert figures["judge"] == {"name": "gpt_4_1", "cases": 6, "settled": 6, "obstacle": None}
    assert figures["scores"]["circular_accuracy"] == pytest.approx(
        {"value": 100.0, "low": 43.8, "high": 100.0, "n": 3}, abs=0.1
    )
    rows = pq.read_table(run_dir(tmp_path) / "samples.parquet").to_pylist()
    assert {row["judge"] for row in rows} == {"gpt_4_1"}
    assert {(row["target"], row["parsed"]) for row in rows} == {("A", "A"), ("B", "B")}
    # Judging computed no prediction anew.
    assert (run_dir(tmp_path) / "samples" / "rank00.jsonl").read_bytes() == predicted


def test_a_missing_key_is_told_and_costs_no_run(
    tmp_path: Path, overrides: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    figures = run(tmp_path, overrides, "judge=gpt_4_1")
    assert (figures["judge"]["cases"], figures["judge"]["settled"]) == (6, 0)
    assert "OPENAI_API_KEY" in figures["judge"]["obstacle"]
