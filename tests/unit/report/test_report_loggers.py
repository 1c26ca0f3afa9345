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
from PIL import Image
from PIL.Image import Image as PILImage
from wandb.proto.wandb_internal_pb2 import Record

from ivcprune.report.loggers import CsvLogger
from ivcprune.report.overlay import draw_overlay
from ivcprune.report.run_summary import summary
from ivcprune.report.wandb_logger import WandbLogger, has_credentials
from ivcprune.runs.read import Run, load_run

MakeRun = Callable[..., Run]
PLACES = ("config:", "summary:", "table:")
DASHBOARD = Path(__file__).parents[3] / "docs" / "wandb_dashboard.yaml"
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

    figures = summary_in(records)
    assert figures["n"] == 120
    assert figures["average_tokens"] == 0.5
    assert figures["kv_bytes_per_sample"] == run.kv_bytes
    for task, score in run.scores.items():
        assert figures[f"score/{task}"] == pytest.approx(score.value)
        assert figures[f"score/{task}_low"] == pytest.approx(score.low)
        assert figures[f"score/{task}_high"] == pytest.approx(score.high)

    table = table_in(run)
    assert len(table["data"]) == 100
    overlays = [dict(zip(table["columns"], row, strict=True))["tokens"] for row in table["data"]]
    assert [overlay is not None for overlay in overlays] == [True] * 3 + [False] * 97


def test_every_key_of_the_dashboard_is_in_an_offline_run(
    make_run: MakeRun, no_account: Path
) -> None:
    make_run("none")
    run = with_layers(make_run("ivc_prune"), {"select": 16})
    WandbLogger().log(run.folder, config_of(run))
    records = list(read_records(run.folder))
    (start,) = [record.run for record in records if record.WhichOneof("record_type") == "run"]
    config = {item.key: json.loads(item.value_json) for item in start.config.update}
    sent = {
        "config": set(dotted(config)),
        "summary": {name for name, value in summary_in(records).items() if value is not None},
        "table": set(table_in(run)["columns"]),
    }
    panels = OmegaConf.to_container(OmegaConf.load(DASHBOARD))["panels"]
    assert len(panels) >= 6
    for panel in panels:
        keys = [leaf for leaf in leaves(panel) if leaf.startswith(PLACES)]
        assert keys, panel["title"]
        for place, _, key in (value.partition(":") for value in keys):
            assert key in sent[place], f"{panel['title']}: {key}"


def test_logging_again_goes_into_the_same_wandb_run(make_run: MakeRun, no_account: Path) -> None:
    run = make_run("fastv")
    for _ in range(2):
        WandbLogger().log(run.folder, config_of(run))
    logs = sorted(run.folder.glob("wandb/offline-run-*/*.wandb"))
    ids = [
        record.run.run_id
        for path in logs
        for record in records_in(path)
        if record.WhichOneof("record_type") == "run"
    ]
    assert ids == [run.key] * len(logs)
    assert len(logs) >= 1


def test_an_outage_of_wandb_keeps_the_run_offline(
    make_run: MakeRun,
    no_account: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # where nobody answers
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    run = make_run("fastv")
    with caplog.at_level("INFO"):
        WandbLogger(mode="online", timeout=2).log(run.folder, config_of(run))
    assert "W&B cannot be used now" in caplog.text
    assert "kept offline; send it with `wandb sync" in caplog.text
    assert summary_in(list(read_records(run.folder)))["n"] == run.n


def test_figures_relative_to_vanilla_by_hand(make_run: MakeRun) -> None:
    vanilla = with_scores(make_run("none"), grounding=80.0, vqa=50.0)
    run = with_scores(make_run("fastv", share=0.25), grounding=60.0, vqa=60.0)
    figures = summary(run, [vanilla, run])
    assert figures["score"] == pytest.approx(60)
    assert figures["relative_score"] == pytest.approx((75 + 120) / 2)
    assert figures["kv_share"] == pytest.approx(0.25)
    assert figures["seconds_per_sample"] == pytest.approx(1 / 40)
    assert summary(vanilla, [vanilla, run])["relative_score"] == pytest.approx(100)
    other = make_run("none", limit=7)
    assert summary(run, [other, run])["relative_score"] is None
    assert summary(run)["kv_share"] is None


def test_a_thumbnail_is_drawn_rather_than_its_first_tile(make_run: MakeRun) -> None:
    run = make_run("ivc_prune", overlays=1)
    (entry,) = run.token_maps().values()
    whole = entry["maps"][0] | {"kind": "thumbnail"}
    tile = entry["maps"][0] | {"kind": "tile", "keep": [[0, 0], [0, 0]], "grid": [2, 2]}
    assert draw_overlay(picture := picture_of(run, entry), entry | {"maps": [tile, whole]}) == (
        draw_overlay(picture, entry | {"maps": [whole]})
    )
    assert draw_overlay(picture, entry | {"maps": [tile]}) != draw_overlay(picture, entry)


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
    "settings",
    [{"mode": "on"}, {"project": ""}, {"max_samples": -1}, {"timeout": 0}],
    ids=lambda s: next(iter(s)),
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


def with_layers(run: Run, layers: dict[str, int]) -> Run:
    return changed(run, layers=layers)


def with_scores(run: Run, **values: float) -> Run:
    score = {"low": 0.0, "high": 100.0, "n": 20}
    return changed(run, scores={task: {"value": v, **score} for task, v in values.items()})


def changed(run: Run, **figures: Any) -> Run:
    """The run with other entries in its `metrics.json`."""
    path = run.folder / "metrics.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | figures))
    return load_run(run.folder)


def picture_of(run: Run, entry: dict[str, Any]) -> PILImage:
    with Image.open(run.folder / entry["image_file"]) as image:
        return image.convert("RGB")


def leaves(tree: Any) -> list[str]:
    if isinstance(tree, dict):
        return [leaf for value in tree.values() for leaf in leaves(value)]
    if isinstance(tree, list):
        return [leaf for value in tree for leaf in leaves(value)]
    return [str(tree)]


def dotted(tree: dict[str, Any], prefix: str = "") -> list[str]:
    """Names of the leaves of nested mappings, such as "policy.name"."""
    names = []
    for key, value in tree.items():
        names += dotted(value, f"{prefix}{key}.") if isinstance(value, dict) else [f"{prefix}{key}"]
    return names


def summary_in(records: list[Record]) -> dict[str, Any]:
    return {
        item.key or "/".join(item.nested_key): json.loads(item.value_json)
        for record in records
        for item in record.summary.update
    }


def table_in(run: Run) -> dict[str, Any]:
    (path,) = run.folder.glob("wandb/offline-run-*/files/media/table/*.table.json")
    table: dict[str, Any] = json.loads(path.read_text())
    return table


def read_records(folder: Path) -> Iterator[Record]:
    """The records of the one offline run in a run directory."""
    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    return records_in(path)


def records_in(path: Path) -> Iterator[Record]:
    """The records of an offline run: W&B's file is a LevelDB log of protocol buffers.

    After 7 bytes of file header come blocks of 32 KiB, which hold chunks of a 7-byte header
    (checksum, length, type) and a part of a record; types 1 and 4 end a record.
    """
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
