"""`job=throughput`: the evaluation loop at several batch sizes answers ragged images alike."""

from __future__ import annotations

import json

import pytest
from tools.reliability.workload import Workload

from ivcprune.configuration.build import build_job, compose
from ivcprune.data.datamodule import PredictData

POLICIES = ["none", "fastv", "pdrop", "ivc_prune", "ivc_prune_paper", "vscan", "sparsevlm"]
SIZE = 11


@pytest.fixture(scope="module")
def workload(tmp_path_factory):
    made = Workload(tmp_path_factory.mktemp("ragged"), SIZE)
    made.write()
    return made


def measured(workload, folder, *options):
    overrides = workload.overrides(folder / "runs", "job=throughput", *options)
    config = compose([*overrides, f"job.output_dir={folder}", "attention=sdpa"])
    build_job(config)(config)
    return json.loads((folder / "throughput.json").read_text("utf-8"))


def test_batches_of_eight_answer_ragged_images_as_single_samples_do(workload, tmp_path, capsys):
    content = measured(
        workload,
        tmp_path,
        f"job.policies=[{','.join(POLICIES)}]",
        "job.batch_sizes=[1,8]",
        "job.num_workers=[0]",
        "job.rounds=1",
    )
    settings = [(item["policy"], item["batch_size"]) for item in content["settings"]]
    assert settings == [(policy, size) for policy in POLICIES for size in (1, 8)]
    for item in content["settings"]:
        assert (item["answers_that_differ"], item["failed"]) == (0, 0), item["policy"]
        assert (item["padding"] > 0) == (item["batch_size"] == 8)
        assert item["samples_per_second"] == pytest.approx(SIZE / item["seconds"][0])
    assert content["data"] == f"ragged, {SIZE} samples"
    table = (tmp_path / "README.md").read_text("utf-8")
    assert table.count("| `pdrop` |") == 2
    assert (tmp_path / "throughput.png").stat().st_size > 0
    assert "Throughput" in capsys.readouterr().out


def test_workers_serve_what_the_main_process_does(workload, tmp_path):
    content = measured(
        workload,
        tmp_path,
        "job.policies=[ivc_prune]",
        "job.batch_sizes=[4]",
        "job.num_workers=[0,1]",
        "job.rounds=2",
        "job.samples=6",
    )
    own, workers = content["settings"]
    assert (own["num_workers"], workers["num_workers"]) == (0, 1)
    assert len(workers["seconds"]) == 2
    assert own["padding"] == workers["padding"]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("job.batch_sizes=[]", r"job.batch_sizes is \[\]"),
        ("job.batch_sizes=[0]", "job.batch_sizes is 0"),
        ("job.num_workers=[-1]", "job.num_workers is -1"),
        ("job.samples=0", "job.samples is 0"),
        ("job.rounds=0", "job.rounds is 0"),
        ("job.policies=[]", "job.policies is empty"),
        ("trainer=ddp_sim", "measures one device"),
    ],
)
def test_what_does_not_fit_is_refused_before_data_is_read(monkeypatch, option, message):
    monkeypatch.setattr(PredictData, "setup", None)
    config = compose(["job=throughput", option])
    with pytest.raises(ValueError, match=message):
        build_job(config)(config)
