"""Figures are means over what succeeded; files are what reports expect."""

import json
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from datasets import Dataset

from ivcprune.runs import results
from ivcprune.runs.directory import RunDirectory, new_status
from ivcprune.runs.samples import SCHEMA, write_table
from ivcprune.runs.schema import SampleRow

GOOD = SampleRow(
    sample_id="a",
    task="vqa",
    rank=0,
    category="count",
    question="how many?",
    prediction="2",
    parsed="2",
    target="2",
    score=1.0,
    n_visual=100,
    n_kept=50,
    kept_by_stage='{"select": 50}',
    average_tokens=0.5,
    kv_bytes=1000,
)
WRONG = replace(GOOD, sample_id="b", score=0.0, average_tokens=0.7, kv_bytes=3000)
TEXT_ONLY = replace(GOOD, sample_id="c", n_visual=0, n_kept=0, average_tokens=1.0, kv_bytes=200)
FAILED = SampleRow(sample_id="d", task="vqa", rank=1, error="OSError: broken image")


def test_metrics() -> None:
    status = replace(new_status(), seconds=8.0, samples_per_second=0.5)
    figures = results.metrics([GOOD, WRONG, TEXT_ONLY, FAILED], status)
    assert figures["n"] == 4
    assert figures["errors"] == 1
    assert figures["average_tokens"] == pytest.approx(0.6)  # text alone says nothing about it
    assert figures["kv_bytes_per_sample"] == pytest.approx(1400)
    assert figures["scores"]["vqa"]["n"] == 3
    assert figures["scores"]["vqa"]["value"] == pytest.approx(200 / 3)
    assert figures["categories"]["vqa"]["count"]["n"] == 3
    assert (figures["seconds"], figures["samples_per_second"]) == (8.0, 0.5)


def test_metrics_of_a_run_in_which_all_failed() -> None:
    figures = results.metrics([FAILED], new_status())
    assert figures["average_tokens"] is None
    assert figures["kv_bytes_per_sample"] is None
    assert figures["scores"]["vqa"]["value"] is None


def test_failed_samples_are_described_by_the_dataset() -> None:
    dataset = Dataset.from_dict(
        {"id": ["a", "d"], "category": ["x", "shape"], "question": ["y", "what shape?"]}
    )
    assert results.complete_failures([GOOD, FAILED], dataset) == [
        GOOD,
        replace(FAILED, category="shape", question="what shape?"),
    ]


def test_samples_parquet_has_the_same_types_whatever_is_missing(tmp_path: Path) -> None:
    write_table(tmp_path, [FAILED])
    assert pq.read_schema(tmp_path / "samples.parquet").equals(SCHEMA)
    write_table(tmp_path, [GOOD, FAILED])
    rows = pq.read_table(tmp_path / "samples.parquet").to_pylist()
    assert [SampleRow(**row) for row in rows] == [GOOD, FAILED]


def test_tokens_json_is_in_the_order_of_the_dataset(tmp_path: Path) -> None:
    run_dir = RunDirectory(tmp_path)
    for sample_id in ("b", "a", "late"):
        run_dir.write_json(f"samples/overlays/{sample_id}.json", {"sample_id": sample_id})
    results.write_tokens(run_dir, ["a", "failed", "b"])
    tokens = json.loads((tmp_path / "tokens.json").read_text())
    assert [entry["sample_id"] for entry in tokens] == ["a", "b"]
