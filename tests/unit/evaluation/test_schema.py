"""Files of a run: what is written is what is read, and a mistake is told by file and field."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from ivcprune.runs import results
from ivcprune.runs.directory import RunDirectory, new_status
from ivcprune.runs.environment import environment
from ivcprune.runs.fields import read_json, typed
from ivcprune.runs.read import load_run
from ivcprune.runs.samples import SCHEMA, read_rows, read_table, write_table
from ivcprune.runs.schema import Environment, Judgement, Metrics, SampleRow, Status

ROW = SampleRow("a", "vqa", rank=0, score=1.0, n_visual=4, average_tokens=0.5, kv_bytes=8)
SCORE = {"value": 50.0, "low": 25.5, "high": 74, "n": 8}
OLDEST: dict[str, Any] = {
    "policy": "fastv",
    "model": "tiny",
    "data": "scenes",
    "n": 8,
    "errors": 0,
    "average_tokens": 0.5,
    "kv_bytes_per_sample": 2048,
    "scores": {"vqa": SCORE},
}
"""`metrics.json` as the first version wrote it."""


def written(folder: Path, **changes: Any) -> Path:
    content = {name: value for name, value in (OLDEST | changes).items() if value != "absent"}
    (folder / "metrics.json").write_text(json.dumps(content))
    return folder


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    judgement: Judgement = {"name": "j", "cases": 2, "settled": 1, "obstacle": None}
    figures = results.metrics([ROW], new_status(), judgement=judgement)
    names = {"policy": "p", "model": "m", "data": "d", "layers": {"select": 2}}
    metrics: Metrics = {**names, **figures}
    run_dir = RunDirectory(tmp_path)
    run_dir.write_json("metrics.json", metrics)
    assert read_json(tmp_path / "metrics.json", Metrics) == metrics
    made = environment(2, "sha256:0", {"ivcprune.policy": "0"})
    run_dir.write_json("env.json", made)
    assert read_json(tmp_path / "env.json", Environment) == made
    assert set(made) == Environment.__optional_keys__
    run = load_run(tmp_path)
    assert (run.judge, run.environment, run.layers) == (judgement, made, {"select": 2})


def test_the_oldest_run_is_read(tmp_path: Path) -> None:
    run = load_run(written(tmp_path))
    assert (run.published, run.unread, run.judge, run.environment) == (None, None, None, {})
    assert run.scores["vqa"].high == 74


def test_a_newer_version_may_add_fields(tmp_path: Path) -> None:
    assert load_run(written(tmp_path, colour="red")).n == 8


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"n": "absent"}, r"`n` is missing"),
        ({"n": 8.5}, r"`n` is 8\.5: it must be a whole number"),
        ({"n": True}, r"`n` is True: it must be a whole number"),
        ({"average_tokens": "half"}, r"`average_tokens` is 'half': it must be a number"),
        ({"kv_bytes_per_sample": "absent"}, r"`kv_bytes_per_sample` is missing"),
        ({"scores": {"vqa": 50}}, r"`scores\.vqa` is 50: it must be a mapping"),
        ({"scores": {"vqa": {**SCORE, "low": "?"}}}, r"`scores\.vqa\.low` is '\?'"),
        ({"scores": {"vqa": {"value": 1, "low": 0, "high": 2}}}, r"`scores\.vqa\.n` is missing"),
        ({"headline": ["vqa", 3]}, r"`headline\.1` is 3: it must be a text"),
        ({"layers": {"select": None}}, r"`layers\.select` is None: it must be a whole number"),
        ({"judge": {"name": "j", "cases": 2}}, r"`judge\.settled` is missing"),
        ({"published": {"scores": {}}}, r"`published\.categories` is missing"),
    ],
)
def test_a_mistake_in_metrics(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=rf"metrics\.json is not a valid metrics file.*{words}"):
        load_run(written(tmp_path, **changes))


@pytest.mark.parametrize("content", ["[]", "3", "{"])
def test_no_mapping_at_all(tmp_path: Path, content: str) -> None:
    (tmp_path / "metrics.json").write_text(content)
    with pytest.raises(ValueError, match=r"metrics\.json is not a valid metrics file"):
        load_run(tmp_path)


def test_a_mistake_beside_the_metrics_names_its_own_file(tmp_path: Path) -> None:
    written(tmp_path)
    (tmp_path / "env.json").write_text('{"weights": 3}')
    with pytest.raises(ValueError, match=r"env\.json: `weights` is 3: it must be a text"):
        load_run(tmp_path)
    (tmp_path / "env.json").unlink()
    (tmp_path / "config.yaml").write_text("a: [")
    with pytest.raises(ValueError, match=r"config\.yaml is no YAML"):
        load_run(tmp_path)


def test_a_row_of_another_type(tmp_path: Path) -> None:
    path = tmp_path / "rank00.jsonl"
    path.write_text(json.dumps(asdict(ROW) | {"score": "1.0"}) + "\n")
    with pytest.raises(ValueError, match=r"rank00\.jsonl, line 1 is damaged \(`score` is '1\.0'"):
        read_rows([path])
    path.write_text(json.dumps(asdict(ROW) | {"colour": "red"}) + "\n")
    with pytest.raises(ValueError, match=r"`colour` is no field that this version knows"):
        read_rows([path])
    path.write_text('{"sample_id": "a", "rank": 0}\n')
    with pytest.raises(ValueError, match=r"`task` is missing"):
        read_rows([path])


def test_a_status_of_another_state() -> None:
    status = asdict(new_status())
    assert typed(Status, status) == new_status()
    with pytest.raises(ValueError, match=r"`state` is 'lost': it must be one of running, done"):
        typed(Status, status | {"state": "lost"})


def test_rows_have_the_columns_of_the_table() -> None:
    assert sorted(SCHEMA.names) == sorted(asdict(ROW))


def test_the_table(tmp_path: Path) -> None:
    write_table(tmp_path, [ROW])
    assert read_table(tmp_path) == [{name: asdict(ROW)[name] for name in SCHEMA.names}]
    (tmp_path / "samples.parquet").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(ValueError, match=r"samples\.parquet is damaged"):
        read_table(tmp_path)
