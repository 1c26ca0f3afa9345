"""Run loggers: CSV and Weights & Biases (offline)."""

from __future__ import annotations

import csv
import json
import os
import struct
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import wandb
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from wandb.proto.wandb_internal_pb2 import Record

from ivcprune.report.loggers import CsvLogger
from ivcprune.report.runs import Run
from ivcprune.report.wandb_logger import WandbLogger, has_credentials

MakeRun = Callable[..., Run]
VARIABLES = ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_DATA_DIR", "WANDB_CACHE_DIR")


@pytest.fixture
def no_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home directory without any W&B account; returned to see what is written there."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("NETRC", str(home / ".netrc"))
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return home


def config_of(run: Run) -> DictConfig:
    return OmegaConf.create(run.config | {"output": "${paths.output_dir}/${experiment_name}"})


def read_table(run: Run) -> list[dict[str, str]]:
    with (run.folder.parent / "summary.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_csv_has_one_row_per_run_and_replaces_it(make_run: MakeRun) -> None:
    runs = [make_run("none"), make_run("fastv")]
    for run in (*runs, runs[1]):
        CsvLogger().log(run.folder, config_of(run))
    rows = read_table(runs[0])
    assert sorted(row["run_key"] for row in rows) == sorted(run.key for run in runs)
    metrics = json.loads((runs[1].folder / "metrics.json").read_text())
    metrics["scores"]["counting"] = {"value": 12.5, "low": 3.0, "high": 30.0, "n": 8}
    (runs[1].folder / "metrics.json").write_text(json.dumps(metrics))
    CsvLogger().log(runs[1].folder, config_of(runs[1]))
    by_key = {row["run_key"]: row for row in read_table(runs[0])}
    assert by_key[runs[1].key]["score/counting"] == "12.5"
    assert by_key[runs[0].key]["score/counting"] == ""
    assert [path.name for path in runs[0].folder.parent.glob("*.csv")] == ["summary.csv"]


def test_wandb_run_is_complete_offline_and_stays_in_the_run_directory(
    make_run: MakeRun, no_account: Path
) -> None:
    run = make_run("ivc_prune", samples=120, overlays=3)
    environment = dict(os.environ)
    WandbLogger().log(run.folder, config_of(run))
    assert dict(os.environ) == environment
    assert list(no_account.iterdir()) == []
    records = list(read_records(run.folder))

    (start,) = [record.run for record in records if record.WhichOneof("record_type") == "run"]
    assert start.run_id == run.key
    assert start.display_name == "ivc_prune/scenes/0.50"
    assert start.run_group == "demo"
    assert start.job_type == "predict"
    assert list(start.tags) == ["qwen2_5_vl"]
    config = {item.key: json.loads(item.value_json) for item in start.config.update}
    assert config["output"] == f"{run.folder.parent}"
    assert config["data"]["name"] == "scenes"

    summary = {
        item.key or "/".join(item.nested_key): json.loads(item.value_json)
        for record in records
        for item in record.summary.update
    }
    assert summary["n"] == 120
    assert summary["average_tokens"] == 0.5
    assert summary["kv_bytes_per_sample"] == run.kv_bytes
    for task, score in run.scores.items():
        assert summary[f"score/{task}"] == pytest.approx(score.value)
        assert summary[f"score/{task}_low"] == pytest.approx(score.low)
        assert summary[f"score/{task}_high"] == pytest.approx(score.high)

    (path,) = run.folder.glob("wandb/offline-run-*/files/media/table/*.table.json")
    table = json.loads(path.read_text())
    assert len(table["data"]) == 100
    overlays = [dict(zip(table["columns"], row, strict=True))["tokens"] for row in table["data"]]
    assert [overlay is not None for overlay in overlays] == [True] * 3 + [False] * 97


def test_wandb_is_finished_also_after_an_error(make_run: MakeRun, no_account: Path) -> None:
    run = make_run("fastv")
    (run.folder / "samples.parquet").unlink()
    with pytest.raises(FileNotFoundError):
        WandbLogger(mode="offline").log(run.folder, config_of(run))
    assert wandb.run is None
    assert "WANDB_DATA_DIR" not in os.environ


def test_credentials_are_found_where_wandb_looks(
    no_account: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not has_credentials()
    (no_account / ".netrc").write_text("machine api.wandb.ai login user password secret\n")
    assert has_credentials()
    (no_account / ".netrc").write_text("machine example.org login user password secret\n")
    assert not has_credentials()
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    assert has_credentials()


def test_online_without_a_key_fails_before_the_run(no_account: Path) -> None:
    WandbLogger().check()
    with pytest.raises(ValueError, match=r"logger\.mode=offline"):
        WandbLogger(mode="online").check()


@pytest.mark.parametrize(
    "settings", [{"mode": "on"}, {"project": ""}, {"max_samples": -1}], ids=lambda s: next(iter(s))
)
def test_wrong_settings_are_named(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=rf"logger\.{next(iter(settings))} is"):
        WandbLogger(**settings)


@pytest.mark.parametrize("name", ["csv", "none", "wandb"])
def test_shipped_loggers_can_be_built(name: str) -> None:
    text = resources.files("ivcprune.conf").joinpath(f"logger/{name}.yaml").read_text()
    logger = instantiate(OmegaConf.create(text))
    assert callable(logger.check)
    assert callable(logger.log)


def read_records(folder: Path) -> Iterator[Record]:
    """The records of an offline run: W&B's file is a LevelDB log of protocol buffers.

    After 7 bytes of file header come blocks of 32 KiB, which hold chunks of a 7-byte header
    (checksum, length, type) and a part of a record; types 1 and 4 end a record.
    """
    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    content = path.read_bytes()
    position, record = 7, b""
    while position + 7 <= len(content):
        if (left := 32768 - position % 32768) < 7:
            position += left
            continue
        _, length, kind = struct.unpack_from("<IHB", content, position)
        record += content[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):
            yield Record.FromString(record)
            record = b""
