"""Each job of a sweep gets a GPU of its own."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ivcprune.configuration.build import TrainerPlan, compose, plan_trainer
from ivcprune.evaluation import devices
from ivcprune.evaluation.devices import assigned, gpu_names, held

HOLD = """
import sys
from pathlib import Path
from ivcprune.evaluation.devices import held
with held(["0", "1"], Path(sys.argv[1])) as index:
    print(index, flush=True)
    sys.stdin.read()
"""


def test_jobs_at_the_same_time_get_different_gpus(tmp_path: Path) -> None:
    with held(["0", "1"], tmp_path) as first, held(["0", "1"], tmp_path) as second:
        assert (first, second) == (0, 1)
    with held(["0", "1"], tmp_path) as again:
        assert again == 0


def test_a_job_waits_for_a_gpu_and_the_dead_hold_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert job.stdout is not None
    assert job.stdout.readline() == "0\n"
    waits: list[float] = []

    def kill_the_job(seconds: float) -> None:
        waits.append(seconds)
        job.kill()
        job.wait()

    monkeypatch.setattr(devices.time, "sleep", kill_the_job)
    with held(["0", "1"], tmp_path) as second, held(["0", "1"], tmp_path) as third:
        assert (second, third) == (1, 0)
    assert waits == [devices.PATIENCE]


def test_gpus_are_told_apart_by_what_the_system_calls_them() -> None:
    assert gpu_names(2, None) == ["0", "1"]
    assert gpu_names(2, "") == ["0", "1"]
    assert gpu_names(2, "4, 6") == ["4", "6"]
    assert gpu_names(1, "GPU-5ebe9f43") == ["GPU-5ebe9f43"]


def test_a_free_gpu_becomes_the_device_of_the_trainer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(devices.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    free = TrainerPlan(lambda **settings: settings, "free")
    with assigned(free) as first, assigned(free) as second:
        assert (first.devices, second.devices) == ([0], [1])
        assert second.build([]) == {"devices": [1], "callbacks": []}
    assert free.devices == "free"


def test_other_devices_stay_as_they_are() -> None:
    plan = plan_trainer(compose(["trainer=cpu", "trainer.devices=2"]))
    assert plan.devices == 2
    with assigned(plan) as same:
        assert same is plan


def test_without_a_gpu_there_is_none_to_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(ValueError, match=r"no CUDA GPU: choose trainer=cpu"):
        assigned(TrainerPlan(dict, "free")).__enter__()
