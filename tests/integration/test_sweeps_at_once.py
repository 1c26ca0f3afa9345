"""Sweeps whose launcher runs several jobs at once, and what becomes of a job that is preempted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ivcprune.data.scenes import load_scenes
from ivcprune.runs.samples import read_rows

SIZE = 150
POLICIES = ("none", "ivc_prune")


@pytest.fixture
def settings(tmp_path: Path) -> list[str]:
    load_scenes("test", SIZE, seed=0, cache_dir=tmp_path / "cache")
    return [
        "--multirun",
        f"policy={','.join(POLICIES)}",
        f"data.size={SIZE}",
        f"paths.output_dir={tmp_path / 'outputs'}",
        f"paths.cache_dir={tmp_path / 'cache'}",
        "experiment_name=sweep",
        "batch_size=1",
        "threads=1",
        "model.max_new_tokens=4",
        "overlays=0",
        "trainer=cpu",
    ]


def sweep(settings: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "ivcprune", *settings],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen[str], output_dir: Path) -> None:
    """Waits for the sweep, and checks that its runs have every sample."""
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    runs = sorted((output_dir / "sweep").glob("*/metrics.json"))
    assert [json.loads(run.read_text())["policy"] for run in runs] == sorted(POLICIES)
    for run in runs:
        ids = pq.read_table(run.parent / "samples.parquet")["sample_id"].to_pylist()
        assert len(set(ids)) == len(ids) == SIZE


def test_joblib_runs_the_jobs_of_a_sweep_at_once(settings: list[str], tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    process = sweep([*settings, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"])
    finish(process, tmp_path / "outputs")


def test_submitit_goes_on_with_a_job_that_was_preempted(
    settings: list[str], tmp_path: Path
) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    process = sweep([*settings, "hydra/launcher=submitit_local", "hydra.launcher.timeout_min=60"])
    samples = first_rows(tmp_path / "outputs", process)
    before = read_rows([samples])
    holder = (samples.parent / ".rank00.lock").read_text()
    os.kill(int(holder.split()[1]), signal.SIGUSR2)  # what SLURM sends before it takes the nodes
    finish(process, tmp_path / "outputs")
    assert read_rows([samples])[: len(before)] == before  # a row that was taken back is the same
    logs = (tmp_path / "outputs" / "sweep" / ".submitit").glob("*/*.err")
    text = "".join(log.read_text() for log in logs)
    assert "Caught signal SIGUSR2" in text
    assert "resumed: " in (samples.parents[1] / "log.txt").read_text()


def first_rows(output_dir: Path, process: subprocess.Popen[str]) -> Path:
    """The sample file of the first run that has some rows.

    The very last one may be taken back when the process is interrupted while it is written.
    """
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        for path in output_dir.glob("sweep/*/samples/rank00.jsonl"):
            if len(read_rows([path])) >= 5:
                return path
        time.sleep(0.01)
    process.kill()
    raise AssertionError(f"no rows: {process.communicate()[0]}")
