"""The shipped experiments run what the paper's tables show, at the paper's budgets."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from ivcprune import api, cli
from ivcprune.budget import average_share
from ivcprune.configuration.build import build_job, build_policy, compose
from ivcprune.configuration.command_line import choices_of
from ivcprune.configuration.data_groups import data_groups
from ivcprune.configuration.experiments import expand_experiment
from ivcprune.configuration.sweep import Sweep, sweeps_of
from ivcprune.models.registry import family_named
from ivcprune.report.paper.published import Cell, PublishedRow, load_table, table_names
from published_layouts import DEPTHS, stage_shares, visual_input

CONF = files("ivcprune.conf")
NAME = "policy.name="
STAGES = "policy."


def settings_of(experiment: str) -> dict[str, Any]:
    text = (CONF / "experiment" / f"{experiment}.yaml").read_text("utf-8")
    content = OmegaConf.to_container(OmegaConf.create(text))
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


WITH_SWEEPS = sorted(
    name
    for file in (CONF / "experiment").iterdir()
    if sweeps_of(name := file.name.removesuffix(".yaml"))
)
EXPERIMENTS = [name for name in WITH_SWEEPS if "paper" in settings_of(name)]
SWEEPS = [(name, i) for name in EXPERIMENTS for i in range(len(sweeps_of(name)))]


def policies(sweep: Sweep) -> list[tuple[str, str]]:
    """The policies of a sweep: the name of each run's, and the file that it is made of."""
    given = [o.removeprefix(NAME) for o in sweep.overrides if o.startswith(NAME)]
    return [(given[-1] if given else policy, policy) for policy in sweep.axes["policy"]]


def cells(sweep: Sweep) -> list[Cell]:
    names = [name for name, _ in policies(sweep)]
    return [Cell(*c) for c in product(sweep.axes["model"], sweep.axes["data"], names)]


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_the_cells_are_those_of_the_paper(experiment: str) -> None:
    planned = [cell for sweep in sweeps_of(experiment) for cell in cells(sweep)]
    assert len(planned) == len(set(planned))
    wanted = [load_table(table).cells for table in settings_of(experiment)["paper"]]
    assert set(planned) == frozenset().union(*wanted)


def test_every_table_has_its_experiment() -> None:
    assert sorted(t for name in EXPERIMENTS for t in settings_of(name)["paper"]) == table_names()


@cache
def family_of(model: str) -> str:
    family: str = compose([f"model={model}"]).model.family
    return family


@cache
def computed_tokens(model: str, policy: str, overrides: tuple[str, ...], video: bool) -> float:
    """Average Tokens of a policy in the real number of layers, in percent."""
    family = family_named(family_of(model))
    depth = DEPTHS[model]
    own = [o.removeprefix(STAGES) for o in overrides if not o.startswith(NAME)]
    bound = api.load_policy(policy, *own, family=family.name).bind(
        depth, family.default_layer(depth), family.spare_layers, family.rotary_axes
    )
    left = stage_shares(bound, visual_input(family.name, video))
    layers = [stage.layer for stage in bound.stages]
    return 100 * average_share(left, layers, depth, bound.cache, bound.spare_layers)


def rows_of(sweep: Sweep, experiment: str) -> list[tuple[str, PublishedRow, str, dict[str, float]]]:
    tables = [load_table(name) for name in settings_of(experiment)["paper"]]
    return [
        (f"{table.name}/{model}/{name}", row, policy, dict(table.unreconciled))
        for table in tables
        for model in sweep.axes["model"]
        for name, policy in policies(sweep)
        if (row := table.row(model, name)) is not None and row.tokens is not None
    ]


@pytest.mark.parametrize(("experiment", "number"), SWEEPS)
def test_average_tokens_are_those_of_the_paper(experiment: str, number: int) -> None:
    """Within one point of the printed column, or listed with the value that we compute."""
    sweep = sweeps_of(experiment)[number]
    video = not set(sweep.axes["data"]).isdisjoint(data_groups()["video"])
    for where, row, policy, unreconciled in rows_of(sweep, experiment):
        computed = computed_tokens(row.model, policy, sweep.overrides, video)
        listed = unreconciled.get(f"{row.model}/{row.policy}/tokens")
        assert row.tokens is not None
        if listed is None:
            assert computed == pytest.approx(row.tokens, abs=1.0), where
        else:
            assert computed == pytest.approx(listed, abs=0.1), where
            assert abs(listed - row.tokens) > 1.0, f"{where} need not be listed"


@pytest.mark.parametrize("experiment", WITH_SWEEPS)
def test_every_sweep_composes(experiment: str) -> None:
    """The last run of each sweep; models, benchmarks and policies are composed elsewhere."""
    for command in expand_experiment(["-m", f"experiment={experiment}"]):
        config = compose([choices_of(override)[-1] for override in command[1:]])
        assert callable(build_job(config))
        assert build_policy(config).name == config.policy.name
        assert config.experiment_name == experiment
        assert "sweeps" not in config


def ivcprune(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr("sys.argv", ["ivcprune", *arguments])
    cli.main()


def test_smoke_runs_the_sweep_and_the_report_shows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    ivcprune(monkeypatch, "-m", "experiment=tab14", "smoke=true", "trainer=cpu", "threads=1")
    runs = sorted(path.parent.name for path in tmp_path.glob("outputs/tab14-smoke/*/metrics.json"))
    assert [name.split("-")[:3] for name in runs] == [
        [policy, "qwen2_5_vl_7b", "ocrbench"] for policy in ("fastv", "ivc_prune", "none", "pdrop")
    ]
    capsys.readouterr()
    ivcprune(monkeypatch, "job=report", "experiment=tab14", "smoke=true", "job.gallery=0")
    printed = capsys.readouterr().out
    assert "Table 14: OCRBench by task" in printed
    assert "(66.3, 75.0 %)" in " ".join(printed.split())
    page = (tmp_path / "outputs/tab14-smoke/paper.html").read_text("utf-8")
    assert "Final Score" in page
    # the names are real ones, the figures are not: every page says so
    for text in (
        " ".join(printed.split()),
        page,
        (tmp_path / "outputs/tab14-smoke/paper.tex").read_text(),
    ):
        assert "no result of the models named" in " ".join(text.split())
    report = (tmp_path / "outputs/tab14-smoke/report.html").read_text("utf-8")
    assert "no result of the models named" in report


def test_a_figure_of_positions_needs_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        ivcprune(monkeypatch, "-m", "experiment=fig4")
    assert "experiment=fig4 needs no run" in capsys.readouterr().err
    assert not (tmp_path / "outputs").exists()
    ivcprune(monkeypatch, "job=report", "experiment=fig4")
    drawn = sorted(path.name for path in (tmp_path / "outputs/fig4").glob("*.png"))
    assert len(drawn) == 4
    page = (tmp_path / "outputs/fig4/paper.html").read_text("utf-8")
    assert page.count("data:image/png;base64,") == 4
