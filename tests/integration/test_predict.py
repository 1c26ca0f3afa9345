"""The main job on the bundled model: results, resume after a kill, failures, several processes."""

from __future__ import annotations

import json
import logging
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ivcprune import cli
from ivcprune.configuration.build import compose
from ivcprune.data.batch import Collate
from ivcprune.data.scenes import load_scenes
from ivcprune.evaluation.module import PredictionError
from ivcprune.jobs import predict
from ivcprune.runs.samples import read_rows
from ivcprune.selectors import RandomSelector

SIZE = 8
TINY = files("ivcprune.assets") / "tiny"
KILL_AT_THIRD_BATCH = """
import os, signal, sys
from ivcprune.cli import main
from ivcprune.runs.samples import SampleLog

append, batches = SampleLog.append, []

def append_or_die(log, rows):
    batches.append(rows)
    if len(batches) == 3:
        log._file.write(b'{"sample_id": "torn')
        os.kill(os.getpid(), signal.SIGKILL)
    append(log, rows)

SampleLog.append = append_or_die
main()
"""
TERMINATED_IN_SECOND_BATCH = """
import os, signal
from ivcprune.cli import main
from ivcprune.evaluation.module import PredictModule

step, batches = PredictModule.predict_step, []

def step_and_ask_to_stop(module, *args):
    batches.append(args)
    if len(batches) == 2:
        os.kill(os.getpid(), signal.SIGTERM)
    return step(module, *args)

PredictModule.predict_step = step_and_ask_to_stop
main()
"""
Predict = Callable[..., Path]


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    load_scenes("test", SIZE, seed=0, cache_dir=folder)
    return folder


def settings(output_dir: Path, cache_dir: Path, *overrides: str) -> list[str]:
    return [
        f"paths.output_dir={output_dir}",
        f"paths.cache_dir={cache_dir}",
        f"data.size={SIZE}",
        "batch_size=2",
        "threads=1",
        "model.max_new_tokens=4",
        "trainer=cpu",
        *overrides,
    ]


def run_job(*overrides: str) -> None:
    predict.run(compose(overrides))


def only_run(output_dir: Path) -> Path:
    (status,) = output_dir.glob("default/*/status.json")
    return status.parent


def samples(run_dir: Path) -> list[dict[str, Any]]:
    return pq.read_table(run_dir / "samples.parquet").to_pylist()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Path:
    """The run directory of an uninterrupted run."""
    output_dir = tmp_path_factory.mktemp("finished")
    run_job(*settings(output_dir, cache_dir, "overlays=3"))
    return only_run(output_dir)


def test_a_finished_run_holds_what_reports_read(finished: Path) -> None:
    rows = samples(finished)
    assert len({row["sample_id"] for row in rows}) == SIZE
    assert all(row["n_kept"] < row["n_visual"] and row["error"] is None for row in rows)
    metrics = json.loads((finished / "metrics.json").read_text())
    assert (metrics["policy"], metrics["model"], metrics["data"]) == ("ivc_prune", "tiny", "scenes")
    assert (metrics["n"], metrics["errors"]) == (SIZE, 0)
    assert metrics["scores"]["grounding"]["n"] + metrics["scores"]["vqa"]["n"] == SIZE
    assert metrics["average_tokens"] == pytest.approx(0.5, abs=0.02)
    assert list(metrics["layers"]) == ["select"]
    status = json.loads((finished / "status.json").read_text())
    assert (status["state"], status["done"], status["total"]) == ("done", SIZE, SIZE)
    assert (finished / "config.yaml").read_text().startswith("experiment_name: default")
    assert json.loads((finished / "env.json").read_text())["world_size"] == 1


def test_overlays_are_kept_for_the_first_samples_of_the_dataset(finished: Path) -> None:
    tokens = json.loads((finished / "tokens.json").read_text())
    by_id = {row["sample_id"]: row for row in samples(finished)}
    assert [entry["sample_id"] for entry in tokens] == list(by_id)[:3]
    for entry in tokens:
        kept = sum(sum(line) for token_map in entry["maps"] for line in token_map["keep"])
        assert kept == by_id[entry["sample_id"]]["n_kept"]
        assert (finished / entry["image_file"]).is_file()


def test_a_finished_run_is_not_computed_again(
    finished: Path, cache_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = (finished / "samples" / "rank00.jsonl").read_bytes()
    with caplog.at_level(logging.INFO):
        run_job(*settings(finished.parent.parent, cache_dir, "overlays=3"))
    assert "already finished: nothing to compute" in caplog.text
    assert (finished / "samples" / "rank00.jsonl").read_bytes() == rows


def test_a_killed_run_goes_on_and_ends_as_if_nothing_had_happened(
    finished: Path, cache_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    overrides = settings(tmp_path, cache_dir, "overlays=3")
    killed = subprocess.run(
        [sys.executable, "-c", KILL_AT_THIRD_BATCH, *overrides], cwd=tmp_path, capture_output=True
    )
    assert killed.returncode == -9, killed.stderr.decode()
    run_dir = only_run(tmp_path)
    assert run_dir.name == finished.name
    assert (run_dir / "samples" / "rank00.jsonl").read_text().endswith('{"sample_id": "torn')
    with caplog.at_level(logging.INFO):
        run_job(*overrides)
    assert f"resumed: 4 of {SIZE} samples were finished" in caplog.text
    assert samples(run_dir) == samples(finished)
    assert (run_dir / "tokens.json").read_text() == (finished / "tokens.json").read_text()


def test_a_request_to_stop_is_met_after_the_batch(cache_dir: Path, tmp_path: Path) -> None:
    overrides = settings(tmp_path, cache_dir)
    command = [sys.executable, "-c", TERMINATED_IN_SECOND_BATCH, *overrides]
    stopped = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=120)
    assert stopped.returncode == 143, stopped.stderr.decode()
    run_dir = only_run(tmp_path)
    assert len(read_rows([run_dir / "samples" / "rank00.jsonl"])) == 4
    # no failure: without a process at it, job=status shows such a run as stopped
    assert json.loads((run_dir / "status.json").read_text())["state"] == "running"
    run_job(*overrides)
    assert len(samples(run_dir)) == SIZE


def test_a_corrupt_image_is_one_failed_sample_which_is_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = load_scenes("test", SIZE, seed=0, cache_dir=tmp_path / "cache")
    (parquet,) = (tmp_path / "cache").glob("*/samples.parquet")
    intact = parquet.read_bytes()
    rows = pq.read_table(parquet)
    images = rows["images"].to_pylist()
    images[2][0]["bytes"] = b"no image"
    column = rows.schema.get_field_index("images")
    corrupt = pa.array(images, rows.field(column).type)
    pq.write_table(rows.set_column(column, rows.field(column), corrupt), parquet)
    overrides = settings(tmp_path, tmp_path / "cache")

    run_job(*overrides)
    bad_id = dataset[2]["id"]
    failed = [row for row in samples(only_run(tmp_path)) if row["error"] is not None]
    assert [row["sample_id"] for row in failed] == [bad_id]
    assert (failed[0]["question"], failed[0]["score"]) == (dataset[2]["question"], None)
    assert f"1 of {SIZE} samples failed ({bad_id})" in caplog.text

    parquet.write_bytes(intact)
    run_job(*overrides)
    run_dir = only_run(tmp_path)
    assert [row["error"] for row in samples(run_dir)] == [None] * SIZE
    assert len(read_rows([run_dir / "samples" / "rank00.jsonl"])) == SIZE


@pytest.mark.parametrize("error", [StopIteration, ValueError("my own"), SystemExit(0)])
def test_a_selector_that_fails_fails_the_run(
    cache_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: BaseException,
) -> None:
    """Lightning would take StopIteration for the end of the data, and an exit for success."""

    def score(*_: object) -> None:
        raise error

    monkeypatch.setattr(RandomSelector, "score", score)
    caplog.set_level(logging.INFO)
    with pytest.raises(PredictionError, match=r"\(samples scenes-test-"):
        run_job(*settings(tmp_path, cache_dir, "policy=random"))
    run_dir = only_run(tmp_path)
    assert json.loads((run_dir / "status.json").read_text())["state"] == "failed"
    assert "in score" in (run_dir / "log.txt").read_text()
    assert f"failed at 0 of {SIZE} samples: the traceback is in" in caplog.text
    assert "the same command" not in caplog.text


def test_a_dataset_that_ends_early_fails_the_run(
    cache_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def encode(*_: object) -> None:
        raise StopIteration("of a processor")

    monkeypatch.setattr(Collate, "_encode", encode)
    with pytest.raises(RuntimeError, match=r"StopIteration in Collate\.__call__: of a processor"):
        run_job(*settings(tmp_path, cache_dir))
    assert "of a processor" in (only_run(tmp_path) / "log.txt").read_text()


def test_a_checkpoint_has_no_say_in_decoding(
    finished: Path, cache_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(TINY, folder)
    asked = {"repetition_penalty": 3.0, "do_sample": True, "eos_token_id": 2, "pad_token_id": 0}
    (folder / "generation_config.json").write_text(json.dumps(asked))
    with caplog.at_level(logging.INFO):
        run_job(*settings(tmp_path / "out", cache_dir, f"model.path={folder}"))
    said = [row["prediction"] for row in samples(only_run(tmp_path / "out"))]
    assert said == [row["prediction"] for row in samples(finished)]
    assert (
        "generation_config is not followed: do_sample=True, repetition_penalty=3.0" in caplog.text
    )


def test_sampling_goes_on_as_it_would_have_gone(cache_dir: Path, tmp_path: Path) -> None:
    sampled = ("generation.do_sample=true", "generation.temperature=3.0")
    whole = tmp_path / "whole"
    run_job(*settings(whole, cache_dir, *sampled))
    expected = [row["prediction"] for row in samples(only_run(whole))]
    rows = only_run(whole) / "samples" / "rank00.jsonl"
    rows.write_text("".join(rows.read_text().splitlines(keepends=True)[:4]))
    run_job(*settings(whole, cache_dir, *sampled))
    assert [row["prediction"] for row in samples(only_run(whole))] == expected
    greedy = tmp_path / "greedy"
    run_job(*settings(greedy, cache_dir))
    assert [row["prediction"] for row in samples(only_run(greedy))] != expected


def test_a_run_says_what_code_it_is_of(finished: Path) -> None:
    env = json.loads((finished / "env.json").read_text())
    assert re.fullmatch(r"[0-9a-f]{40}", env["commit"] or "0" * 40)
    assert env["dirty"] in (True, False, None)
    assert env["code"]["ivcprune.selectors.foreground"]
    assert "ivcprune.selectors.divprune" not in env["code"]


def test_two_processes_share_the_samples(finished: Path, cache_dir: Path, tmp_path: Path) -> None:
    overrides = settings(tmp_path, cache_dir, "trainer=ddp_sim")
    command = [sys.executable, "-m", "ivcprune", *overrides]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    run_dir = only_run(tmp_path)
    assert run_dir.name == finished.name
    rows = samples(run_dir)
    ranks = sorted(row.pop("rank") for row in rows)
    assert ranks == [0] * (SIZE // 2) + [1] * (SIZE // 2)
    assert rows == [
        {key: value for key, value in row.items() if key != "rank"} for row in samples(finished)
    ]


def test_an_impossible_attention_backend_leaves_no_run_behind(
    cache_dir: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="attention=flash needs a CUDA GPU"):
        run_job(*settings(tmp_path, cache_dir, "attention=flash"))
    assert not list(tmp_path.rglob("status.json"))


def test_a_sweep_of_jobs_with_several_processes_is_refused_with_advice(
    cache_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each process would start the whole sweep."""
    overrides = settings(tmp_path, cache_dir, "trainer=ddp_sim", "seed=0,1", "sweep=separate")
    monkeypatch.setattr("sys.argv", ["ivcprune", "--multirun", *overrides])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == cli.FAILED
    message = capsys.readouterr().err
    assert "with 2 devices a job would repeat the whole sweep in every process" in message
    assert "hydra/launcher=joblib with trainer=free_gpu" in message
    assert not list(tmp_path.rglob("status.json"))


def test_vanilla_keeps_every_token(cache_dir: Path, tmp_path: Path) -> None:
    run_job(*settings(tmp_path, cache_dir, "policy=none", "data.limit=2"))
    assert all(row["n_kept"] == row["n_visual"] > 0 for row in samples(only_run(tmp_path)))


def test_a_failing_run_logger_loses_no_result(
    finished: Path,
    cache_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def unreachable(*_: object) -> None:
        raise ConnectionError("service unavailable")

    monkeypatch.setattr("ivcprune.report.loggers.CsvLogger.log", unreachable)
    run_job(*settings(finished.parent.parent, cache_dir, "overlays=3", "logger=csv"))
    assert "the run logger failed (service unavailable)" in caplog.text
    assert json.loads((finished / "status.json").read_text())["state"] == "done"


def test_a_run_that_breaks_off_says_so_in_its_files(
    cache_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no memory left")

    monkeypatch.setattr("ivcprune.models.loading.ModelSpec.load_model", broken)
    caplog.set_level(logging.DEBUG)
    with pytest.raises(RuntimeError, match="no memory left"):
        run_job(*settings(tmp_path, cache_dir))
    run_dir = only_run(tmp_path)
    assert json.loads((run_dir / "status.json").read_text())["state"] == "failed"
    assert "no memory left" in (run_dir / "log.txt").read_text()
