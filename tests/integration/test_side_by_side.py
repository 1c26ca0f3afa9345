"""Runs that one pass computes leave the files that each would have left alone."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from family_run import save_tiny
from ivcprune.data.batch import Batch, Collate
from ivcprune.data.scenes import load_scenes
from ivcprune.evaluation.module import PredictModule
from ivcprune.models.loading import ModelSpec
from ivcprune.selectors import RandomSelector
from sweep_helpers import DEMO, command, contents, run_of, status, write_pairs

MODELS = {"qwen2_5_vl": "qwen2_5_vl_3b", "llava": "llava_1_5_7b", "internvl": "internvl2_5_8b"}
SIZE = 8
POLICIES = ("none", "ivc_prune", "fastv", "random")
ALL = ",".join(POLICIES)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return write_pairs(tmp_path_factory.mktemp("pairs"))


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Settings of short runs of the bundled model."""
    cache_dir = tmp_path_factory.mktemp("cache")
    load_scenes("test", SIZE, seed=0, cache_dir=cache_dir)
    return [
        f"paths.cache_dir={cache_dir}",
        f"data.size={SIZE}",
        "batch_size=3",
        "threads=1",
        "model.max_new_tokens=4",
        "overlays=2",
        "trainer=cpu",
    ]


Sweep = Callable[..., Path]


@pytest.fixture
def sweep(scenes: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    """Runs a sweep in a folder of its name; asserts its exit code."""

    def run(
        folder: str, *arguments: str, policies: str = ",".join(POLICIES), code: int = 0
    ) -> Path:
        outputs = tmp_path / folder
        given = ["-m", f"policy={policies}", *scenes, *arguments, f"paths.output_dir={outputs}"]
        assert command(monkeypatch, *given) == code
        return outputs

    return run


@pytest.mark.parametrize("family", MODELS)
def test_every_file_is_what_separate_runs_write(
    family: str, pairs: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = save_tiny(family, tmp_path / "checkpoint")
    settings = [
        *("-m", *pairs, f"policy={','.join(DEMO)}", f"model={MODELS[family]}"),
        *(f"model.path={checkpoint}", "model.max_new_tokens=3", "batch_size=2", "overlays=2"),
        *("threads=1", "trainer=cpu"),
    ]
    runs = {}
    for mode in ("separate", "shared"):
        outputs = tmp_path / mode
        arguments = [*settings, f"paths.output_dir={outputs}", f"sweep={mode}"]
        assert command(monkeypatch, *arguments) == 0
        runs[mode] = contents(outputs)
    assert sorted(runs["shared"]) == sorted(runs["separate"])
    for name, content in runs["separate"].items():
        assert runs["shared"][name] == content, name
    names = [Path(name).name for name in runs["shared"]]
    assert names.count("samples.parquet") == names.count("metrics.json") == len(DEMO)


def test_pictures_are_read_and_encoded_once(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, encoded, towers = [], [], []
    load, encode = ModelSpec.load_model, Collate._encode

    def watched(spec: ModelSpec, *args: Any, **kwargs: Any) -> Any:
        model: Any = load(spec, *args, **kwargs)
        loaded.append(spec.name)
        model.model.visual.register_forward_pre_hook(lambda *_: towers.append(1))
        return model

    def counted(collate: Collate, samples: list[Any]) -> Any:
        encoded.append(len(samples))
        return encode(collate, samples)

    monkeypatch.setattr(ModelSpec, "load_model", watched)
    monkeypatch.setattr(Collate, "_encode", counted)
    sweep("outputs")
    assert (loaded, encoded, len(towers)) == (["tiny"], [3, 3, 2], 3)


def test_finished_and_half_finished_runs_go_on_as_they_would_alone(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One run is finished, one has its first batch, one a failed sample, one did not begin."""
    whole = contents(sweep("whole", "sweep=separate"))
    outputs = sweep("outputs", policies="none,ivc_prune,fastv")
    done = run_of(outputs, "none") / "samples" / "rank00.jsonl"
    before = done.read_bytes()
    half = run_of(outputs, "ivc_prune") / "samples" / "rank00.jsonl"
    half.write_text("".join(half.read_text().splitlines(keepends=True)[:3]))
    failed = run_of(outputs, "fastv") / "samples" / "rank00.jsonl"
    rows = [json.loads(line) for line in failed.read_text().splitlines()]
    lost = rows[1] | {"error": "out of luck", "prediction": "", "score": None}
    failed.write_text("".join(json.dumps(row) + "\n" for row in [rows[0], lost, *rows[2:]]))
    sizes: list[tuple[str, int]] = []
    answer = PredictModule._answer

    def watched(module: PredictModule, batch: Batch) -> Any:
        sizes.append((module.policy.name, len(batch.samples)))
        return answer(module, batch)

    monkeypatch.setattr(PredictModule, "_answer", watched)
    sweep("outputs")
    assert done.read_bytes() == before
    by_policy = {name: [n for p, n in sizes if p == name] for name in POLICIES}
    assert by_policy == {"none": [], "ivc_prune": [3, 2], "fastv": [1], "random": [3, 3, 2]}
    now = contents(outputs)
    for name, content in whole.items():
        if name.endswith((".parquet", "metrics.json", "tokens.json")):
            assert now[name] == content, name


def test_a_policy_that_fails_leaves_the_others_going(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = contents(sweep("whole", "sweep=separate"))
    score, calls = RandomSelector.score, []

    def broken(selector: RandomSelector, tokens: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise ValueError("my own")
        return score(selector, tokens)

    monkeypatch.setattr(RandomSelector, "score", broken)
    outputs = sweep("outputs", policies="random,none,ivc_prune,fastv", code=1)
    assert "error: PredictionError: ValueError: my own (samples" in capsys.readouterr().err
    bad = run_of(outputs, "random")
    assert (status(bad)["state"], status(bad)["done"]) == ("failed", 3)
    assert "in broken" in (bad / "log.txt").read_text()
    assert not (bad / "metrics.json").exists()
    now = contents(outputs)
    for policy in ("none", "ivc_prune", "fastv"):
        good = run_of(outputs, policy)
        assert status(good)["state"] == "done"
        assert "Traceback" not in (good / "log.txt").read_text()
        for name in ("samples.parquet", "metrics.json"):
            path = f"default/{good.name}/{name}"
            assert now[path] == whole[path]
    monkeypatch.setattr(RandomSelector, "score", score)
    sweep("outputs")  # the same command goes on
    path = f"default/{bad.name}/samples.parquet"
    assert contents(outputs)[path] == whole[path]


def test_a_policy_that_cannot_work_is_refused_alone(
    sweep: Sweep, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = sweep("outputs", "policy.stages.select.layer=2,99", policies="ivc_prune", code=1)
    assert "stages.select.layer is 99, but the model has 6" in capsys.readouterr().err
    (run,) = outputs.glob("default/*/metrics.json")
    assert json.loads(run.read_text())["layers"] == {"select": 2}


def test_when_nothing_goes_on_the_pass_ends(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        calls.append(1)
        raise ValueError("my own")

    calls: list[int] = []
    monkeypatch.setattr(PredictModule, "_answer", broken)
    outputs = sweep("outputs", code=1)
    assert len(calls) == len(POLICIES)
    assert {status(run_of(outputs, name))["state"] for name in POLICIES} == {"failed"}


def test_a_model_that_cannot_be_loaded_fails_all_but_finished_runs(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = sweep("outputs", policies="none")

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no weights")

    monkeypatch.setattr(ModelSpec, "load_model", broken)
    sweep("outputs", code=1)
    states = [status(run_of(outputs, name))["state"] for name in POLICIES]
    assert states == ["done", "failed", "failed", "failed"]
    assert "no weights" in (run_of(outputs, "fastv") / "log.txt").read_text()
    assert "no weights" not in (run_of(outputs, "none") / "log.txt").read_text()


def test_a_run_that_another_process_writes_is_left_to_it(
    sweep: Sweep, scenes: list[str], tmp_path: Path
) -> None:
    outputs = sweep("outputs", policies="none,fastv")
    lock = run_of(outputs, "none") / "samples" / ".rank00.lock"
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import fcntl, sys\nfile = open(sys.argv[1], 'a+')\nfcntl.lockf(file, fcntl.LOCK_EX)\n"
            "print('held', flush=True)\nsys.stdin.read()",
            str(lock),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    try:
        sweep("outputs", code=1)
    finally:
        holder.communicate("")
    assert status(run_of(outputs, "random"))["state"] == "done"


def test_memory_that_runs_out_beside_what_is_shared_changes_no_answer(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch of three does not fit beside others, and one policy's does not fit at all."""
    whole = contents(sweep("whole", "sweep=separate"))
    answer, sizes = PredictModule._answer, []

    def scarce(module: PredictModule, batch: Batch) -> Any:
        shares = "forward" in vars(module.model.model.language_model.layers[0])  # type: ignore[union-attr]
        sizes.append((module.policy.name, len(batch.samples)))
        if len(batch.samples) > 2 and (shares or module.policy.name == "fastv"):
            raise torch.OutOfMemoryError("memory is full")
        return answer(module, batch)

    monkeypatch.setattr(PredictModule, "_answer", scarce)
    outputs = sweep("outputs")
    by_policy = {name: [n for p, n in sizes if p == name] for name in POLICIES}
    # shared, then alone; the policies that follow on this batch run alone at once
    assert by_policy["none"] == [3, 3, 3, 3, 2]
    assert by_policy["random"] == [3, 3, 2]
    assert [n for n in by_policy["fastv"] if n < 3] == [2, 1, 2, 1, 2]
    path = f"default/{run_of(outputs, 'ivc_prune').name}/samples.parquet"
    assert contents(outputs)[path] == whole[path]
    rows = pq.read_table(run_of(outputs, "fastv") / "samples.parquet").to_pylist()
    assert [row["error"] for row in rows] == [None] * SIZE


def test_layers_and_budgets_are_policies_too(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = []
    load = ModelSpec.load_model

    def watched(spec: ModelSpec, *args: Any, **kwargs: Any) -> Any:
        loaded.append(spec.name)
        return load(spec, *args, **kwargs)

    monkeypatch.setattr(ModelSpec, "load_model", watched)
    settings = ("policy.stages.select.layer=2,4", "policy.average_tokens=0.5,0.7")
    shared = contents(sweep("shared", *settings, "sweep=shared", policies="ivc_prune"))
    assert len(loaded) == 1
    separate = contents(sweep("separate", *settings, "sweep=separate", policies="ivc_prune"))
    assert sorted(shared) == sorted(separate)
    assert [n for n in shared if shared[n] != separate[n]] == []
    assert sum(name.endswith("metrics.json") for name in shared) == 4


def test_other_settings_are_passes_of_their_own(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = []
    load = ModelSpec.load_model

    def watched(spec: ModelSpec, *args: Any, **kwargs: Any) -> Any:
        loaded.append(spec.name)
        return load(spec, *args, **kwargs)

    monkeypatch.setattr(ModelSpec, "load_model", watched)
    outputs = sweep("outputs", "seed=0,1", "data.limit=2", policies="none,fastv")
    assert len(loaded) == 2
    assert len(list(outputs.glob("default/*/metrics.json"))) == 4


def test_a_list_of_policies_needs_no_multirun(
    scenes: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = tmp_path / "outputs"
    given = ["policy=[none,fastv]", *scenes, "data.limit=2", f"paths.output_dir={outputs}"]
    assert command(monkeypatch, *given) == 0
    assert sorted(p.parent.name.split("-")[0] for p in outputs.rglob("metrics.json")) == [
        "fastv",
        "none",
    ]
    assert (run_of(outputs, "none") / "overrides.txt").read_text().startswith("policy=none\n")


def test_sampled_answers_are_those_of_separate_runs(sweep: Sweep) -> None:
    settings = ("generation.do_sample=true", "generation.temperature=3.0")
    shared = contents(sweep("shared", *settings, "sweep=shared", policies="none,fastv"))
    separate = contents(sweep("separate", *settings, "sweep=separate", policies="none,fastv"))
    assert [n for n in separate if shared[n] != separate[n]] == []


def test_two_processes_share_within_their_own_batches(sweep: Sweep, tmp_path: Path) -> None:
    alone = sweep("alone", policies="none,fastv")
    outputs = tmp_path / "outputs"
    given = (run_of(alone, "none") / "overrides.txt").read_text().split()
    given = [x for x in given if not x.startswith(("policy", "trainer", "paths.output_dir"))]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "ivcprune", "policy=[none,fastv]", *given),
            *("trainer=ddp_sim", f"paths.output_dir={outputs}"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    for policy in ("none", "fastv"):
        rows, expected = (
            pq.read_table(run_of(folder, policy) / "samples.parquet").to_pylist()
            for folder in (outputs, alone)
        )
        assert {row.pop("rank") for row in rows} == {0, 1}
        assert rows == [{k: v for k, v in row.items() if k != "rank"} for row in expected]


def test_several_passes_of_several_processes_are_refused(
    sweep: Sweep, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    sweep("outputs", "trainer=ddp_sim", "seed=0,1", policies="none,fastv", code=1)
    assert "would repeat the whole sweep in every process" in capsys.readouterr().err
    assert not list(tmp_path.rglob("status.json"))
