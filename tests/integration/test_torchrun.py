"""One run over processes that torchrun or SLURM's srun starts, on one machine and as on two."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

N = 13
"""Samples: a number that neither batches of 3 nor two processes divide."""


def settings(folder: Path, name: str) -> list[str]:
    return [
        "data.size=24",
        f"data.limit={N}",
        "batch_size=3",
        "threads=1",
        "overlays=0",
        "model.max_new_tokens=4",
        f"paths.output_dir={folder / name}",
        f"paths.cache_dir={folder / 'cache'}",
    ]


def start(*command: str, **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", *command],
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(*processes: subprocess.Popen[str]) -> None:
    for process in processes:
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output


def torchrun(*options: str) -> tuple[str, ...]:
    return "torch.distributed.run", *options, "-m", "ivcprune", "trainer=ddp_sim"


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def run_folder(folder: Path, name: str) -> Path:
    (run,) = (folder / name / "default").iterdir()
    return run


def samples(folder: Path, name: str) -> list[dict[str, Any]]:
    rows = pq.read_table(run_folder(folder, name) / "samples.parquet").to_pylist()
    return sorted(rows, key=lambda row: row["sample_id"])


def without_rank(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != "rank"} for row in rows]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds the run of one process, `one`."""
    folder = tmp_path_factory.mktemp("torchrun")
    finish(start("ivcprune", "trainer=cpu", *settings(folder, "one")))
    return folder


def test_two_processes_give_the_samples_of_one(folder: Path) -> None:
    finish(start(*torchrun("--nproc-per-node=2"), *settings(folder, "two")))
    rows = samples(folder, "two")
    assert {row["rank"] for row in rows} == {0, 1}
    assert without_rank(rows) == without_rank(samples(folder, "one"))


def test_two_nodes_give_the_samples_of_one(folder: Path) -> None:
    port = free_port()
    finish(
        *(
            start(
                *torchrun(
                    "--nnodes=2",
                    f"--node-rank={node}",
                    "--nproc-per-node=1",
                    "--master-addr=127.0.0.1",
                    f"--master-port={port}",
                ),
                "trainer.devices=1",
                "trainer.num_nodes=2",
                *settings(folder, "nodes"),
            )
            for node in range(2)
        )
    )
    rows = samples(folder, "nodes")
    assert {row["rank"] for row in rows} == {0, 1}
    assert without_rank(rows) == without_rank(samples(folder, "one"))


def test_two_tasks_of_slurm_give_the_samples_of_one(folder: Path) -> None:
    """With the variables that srun gives each task of a job on two nodes; there is no SLURM."""
    job = {
        "SLURM_JOB_ID": "4242",
        "SLURM_JOB_NAME": "ivcprune",
        "SLURM_NNODES": "2",
        "SLURM_NTASKS": "2",
        "SLURM_NTASKS_PER_NODE": "1",
        "SLURM_NODELIST": "127.0.0.1",
        "SLURM_LOCALID": "0",
        "MASTER_PORT": str(free_port()),
    }
    trainer = ("trainer=slurm", "trainer.accelerator=cpu", "trainer.devices=1")
    tasks = [job | {"SLURM_PROCID": str(node), "SLURM_NODEID": str(node)} for node in range(2)]
    finish(*(start("ivcprune", *trainer, *settings(folder, "slurm"), **task) for task in tasks))
    rows = samples(folder, "slurm")
    assert {row["rank"] for row in rows} == {0, 1}
    assert without_rank(rows) == without_rank(samples(folder, "one"))


def test_two_processes_go_on_where_one_was_killed(folder: Path) -> None:
    shutil.copytree(folder / "one", folder / "resumed")
    run = run_folder(folder, "resumed")
    for result in ("samples.parquet", "metrics.json", "tokens.json", "status.json"):
        (run / result).unlink()
    log = run / "samples" / "rank00.jsonl"
    written = log.read_text().splitlines(keepends=True)
    log.write_text("".join(written[:5]) + written[5][:20])  # a kill tore the sixth row
    finish(start(*torchrun("--nproc-per-node=2"), *settings(folder, "resumed")))
    assert log.read_text().startswith("".join(written[:5]))
    assert without_rank(samples(folder, "resumed")) == without_rank(samples(folder, "one"))
