"""The layer of a selection, chosen on a small subset, and scores without that subset."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ivcprune import cli
from ivcprune.configuration.build import compose
from ivcprune.data.scenes import load_scenes
from ivcprune.jobs import predict, select_layer
from ivcprune.jobs import report as report
from ivcprune.jobs.select_layer import LayerScore
from ivcprune.jobs.status import all_progress
from ivcprune.report.leave_out import Samples, leave_out, read_samples
from ivcprune.runs.read import load_layer_runs, load_runs

SIZE = 10


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("layers")
    load_scenes("test", SIZE, seed=0, cache_dir=folder / "cache")
    return [
        f"paths.output_dir={folder / 'outputs'}",
        f"paths.cache_dir={folder / 'cache'}",
        f"data.size={SIZE}",
        "threads=1",
        "trainer=cpu",
        "model.max_new_tokens=12",
        "overlays=0",
        "experiment_name=layers",
    ]


@pytest.fixture(scope="module")
def experiment(settings: list[str]) -> Path:
    """The folder of a finished choice between layers 1, 2 and 4, on four samples: its own."""
    with pytest.MonkeyPatch.context() as patch:
        arguments = ["job=select_layer", "job.layers=[4,1,2]", "job.limit=4", *settings]
        patch.setattr("sys.argv", ["ivcprune", *arguments])
        cli.main()
    experiment = Path(settings[0].partition("=")[2]) / "layers"
    (folder,) = (experiment / "select_layer").iterdir()
    return folder


@pytest.fixture(scope="module")
def choice(experiment: Path) -> dict:
    return json.loads((experiment / "layer_choice.json").read_text())


def test_every_layer_is_tried_on_the_same_few_samples(experiment: Path, choice: dict) -> None:
    assert [item["layer"] for item in choice["layers"]] == [1, 2, 4]
    for item in choice["layers"]:
        folder = experiment / item["run"]
        metrics = json.loads((folder / "metrics.json").read_text())
        assert metrics["layers"] == {"select": item["layer"]}
        assert item["scores"] == {task: s["value"] for task, s in metrics["scores"].items()}
        assert item["score"] == pytest.approx(sum(item["scores"].values()) / len(item["scores"]))
        assert item["average_tokens"] == metrics["average_tokens"]
        samples = pq.read_table(folder / "samples.parquet")["sample_id"].to_pylist()
        assert samples == choice["ids"]


def test_the_choice_records_what_it_was_made_on(choice: dict) -> None:
    assert (choice["size"], len(choice["ids"]), choice["subset_seed"]) == (4, 4, 0)
    assert (choice["model"], choice["data"]) == ("tiny", "scenes")
    assert (choice["policy"], choice["stage"]) == ("ivc_prune", "select")
    best = max(item["score"] for item in choice["layers"])
    first = next(item["layer"] for item in choice["layers"] if item["score"] == best)
    assert choice["chosen"] == first


def test_runs_of_a_choice_are_no_results(
    experiment: Path, settings: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """They lie apart from the experiment's runs, and other questions' choices beside them."""
    results = experiment.parents[1]
    assert load_runs(results) == []
    assert {run.folder.parent for run in load_layer_runs(results)} == {experiment}
    runs = [progress.experiment for progress in all_progress(results.parent)]
    assert runs.count(f"layers/select_layer/{experiment.name}") == 3
    spec = select_layer.build_model_spec(compose(settings))
    keys = [
        select_layer.question_key(compose([*settings, *overrides]), spec.fingerprint(), "select")
        for overrides in ([], ["policy.stages.select.layer=3"], ["policy=random"], ["seed=1"])
    ]
    assert (keys[0], len(set(keys))) == (keys[1], 3)


def test_the_plot_is_a_picture(experiment: Path) -> None:
    assert (experiment / "layer_choice.png").read_bytes().startswith(b"\x89PNG")


def test_the_choice_is_not_computed_twice(
    experiment: Path,
    settings: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def no_model(*_: object, **__: object) -> None:
        raise AssertionError("weights are loaded")

    monkeypatch.setattr("ivcprune.models.loading.ModelSpec.load_model", no_model)
    before = (experiment / "layer_choice.json").read_text()
    cfg = compose(["job=select_layer", *settings])
    select_layer.run(cfg, layers=[1, 2, 4], limit=4)
    assert (experiment / "layer_choice.json").read_text() == before
    chosen = json.loads(before)["chosen"]
    out = capsys.readouterr().out
    assert f"policy.stages.select.layer={chosen}" in out
    assert f'"ivcprune_selection_layer": {chosen}' in out
    assert "tiny on 4 samples of scenes" in out


def test_of_equal_scores_the_earlier_layer_wins(
    experiment: Path, settings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def same(layer: int, done: object) -> LayerScore:
        return LayerScore(layer, 50.0 if layer > 1 else 10.0, {"vqa": 50.0}, 0.5, "run")

    monkeypatch.setattr(select_layer, "_layer_score", same)
    saved = (experiment / "layer_choice.json").read_text()
    select_layer.run(compose(["job=select_layer", *settings]), layers=[1, 2, 4], limit=4)
    assert json.loads((experiment / "layer_choice.json").read_text())["chosen"] == 2
    (experiment / "layer_choice.json").write_text(saved)


def test_all_layers_are_meant_by_default(settings: list[str]) -> None:
    cfg = compose(["job=select_layer", *settings])
    spec = select_layer.build_model_spec(cfg)
    assert list(select_layer._of_layers(cfg, spec, None, "select")) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("options", "overrides", "sentence"),
    [
        ({"layers": [9]}, [], "stages.select.layer is 9, but the model has 6 decoder layers"),
        ({"layers": [0]}, [], "stages.select.layer is 0, but its selector needs values"),
        ({"layers": []}, [], "job.layers is empty"),
        ({"stage": "early"}, [], "job.stage is 'early': policy 'ivc_prune' has the stages"),
        ({}, ["policy=none"], "job.stage is 'select': policy 'none' has the stages"),
        ({"limit": 0}, [], "job.limit is 0"),
        ({}, ["trainer=ddp_sim"], "which several processes cannot do together"),
    ],
)
def test_a_mistake_shows_before_anything_runs(
    options: dict, overrides: list[str], sentence: str, tmp_path: Path, settings: list[str]
) -> None:
    cfg = compose([*settings, *overrides, f"paths.output_dir={tmp_path / 'none'}"])
    with pytest.raises(ValueError, match=sentence):
        select_layer.run(cfg, **options)
    assert not (tmp_path / "none").exists()


def test_reports_can_leave_the_chosen_samples_out(
    experiment: Path, choice: dict, settings: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = [*settings, "experiment_name=all"]
    predict.run(compose(overrides))
    outputs = experiment.parents[2]
    (whole,) = load_runs(outputs / "all")
    rest = leave_out(whole, read_samples(str(experiment / "layer_choice.json")))
    rows = [row for row in whole.samples() if row["sample_id"] not in choice["ids"]]
    assert rest.samples() == rows
    assert (whole.n, rest.n) == (SIZE, SIZE - 4)
    for task, score in rest.scores.items():
        values = [row["score"] for row in rows if row["task"] == task]
        assert (score.n, score.value) == (len(values), 100 * sum(values) / len(values))
    assert leave_out(whole, Samples(whole.data, frozenset({"another"}))) is whole
    of_others = Samples("another", frozenset(choice["ids"]))
    assert leave_out(whole, of_others) is whole  # ids are unique within a benchmark only
    for name, categories in rest.categories.items():
        for category, score in categories.items():
            of_category = [r for r in rows if r["task"] == name and r["category"] == category]
            assert score.n == len(of_category)
    assert sum(s.n for c in rest.categories.values() for s in c.values()) == len(rows)

    path = experiment / "layer_choice.json"
    capsys.readouterr()
    report.run(compose(overrides), without=str(path))
    assert f"without the samples of {path}" in capsys.readouterr().out
    with pytest.raises(FileNotFoundError, match="no runs"):
        report.run(compose(settings), without=str(path))  # nothing is left of those runs


def test_a_file_that_is_no_choice_is_named(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text("[]")
    for name in ("other.json", "missing.json"):
        with pytest.raises(ValueError, match=f"job.without=.*{name} cannot be read"):
            read_samples(str(tmp_path / name))
