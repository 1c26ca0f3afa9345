"""Both readings through a whole run: kept by sample, shown, and told where most is unread."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from ivcprune import cli
from ivcprune.runs.read import load_run


def run(folder: Path, patch: pytest.MonkeyPatch, *overrides: str) -> tuple[dict[str, Any], Path]:
    settings = ["trainer=cpu", "threads=1", "overlays=0", "batch_size=4", "model.max_new_tokens=8"]
    paths = [f"paths.{name}_dir={folder / name}" for name in ("output", "cache")]
    command = ["ivcprune", "model=tiny", "data=scenes", "data.limit=8", "policy=none"]
    patch.setattr("sys.argv", [*command, *settings, *paths, *overrides])
    cli.main()
    (metrics,) = folder.glob("output/*/*/metrics.json")
    return json.loads(metrics.read_text()), metrics.parent


def test_a_wrong_box_format_is_told_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics, folder = run(tmp_path, monkeypatch, "model.box_format=qwen2_5_vl")
    n = metrics["scores"]["grounding"]["n"]
    assert metrics["unread"] == metrics["unread_by_task"]["grounding"] == n > 0
    assert metrics["unread_by_task"]["vqa"] == 0
    log = (folder / "log.txt").read_text()
    assert f"{n} of {n} replies to grounding are UNREAD" in log
    assert "model.box_format=qwen2_5_vl" in log
    assert "unread" in capsys.readouterr().out


def test_both_readings_of_every_reply_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics, folder = run(tmp_path, monkeypatch)
    assert metrics["unread"] == 0
    assert metrics["published"]["scores"] == metrics["scores"]
    assert "UNREAD" not in (folder / "log.txt").read_text()
    rows = pq.read_table(folder / "samples.parquet").to_pylist()
    assert [row["published_parsed"] for row in rows] == [row["parsed"] for row in rows]
    assert all(row["settled"] and row["published_settled"] for row in rows)
    assert load_run(folder).as_published().samples()[0]["score"] == rows[0]["published_score"]
