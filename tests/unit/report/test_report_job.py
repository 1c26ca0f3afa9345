"""`job=report`: the table, the page, and what it says when something is missing."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from ivcprune.jobs.report import run as report
from ivcprune.report.comparison import compare
from ivcprune.report.html import render_page
from ivcprune.report.table import notes
from ivcprune.runs.read import Run, load_run

MakeRun = Callable[..., Run]


@pytest.fixture
def cfg(tmp_path: Path) -> DictConfig:
    return OmegaConf.create({"paths": {"output_dir": str(tmp_path)}, "experiment_name": "demo"})


class Page(HTMLParser):
    """Collects addresses that a browser would load, and how deep elements are nested."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]


def test_prints_one_table_and_the_paths(
    make_run: MakeRun, cfg: DictConfig, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name in ("none", "ivc_prune", "fastv"):
        make_run(name, accuracy=0.9, errors=int(name == "fastv"))
    report(cfg)
    printed = capsys.readouterr().out
    assert printed.count("tiny on scenes") == 1
    assert all(name in printed for name in ("none", "ivc_prune", "grounding", "vqa", "216 KiB"))
    assert "fastv: 1 of 40 samples failed" in printed
    assert str(tmp_path / "demo" / "report.html") in printed.replace("\n", "")


def test_page_is_self_contained_and_escaped(
    make_run: MakeRun, cfg: DictConfig, tmp_path: Path
) -> None:
    for name in ("none", "ivc_prune"):
        make_run(name)
    report(cfg, gallery=2)
    text = (tmp_path / "demo" / "report.html").read_text("utf-8")
    page = Page(text)
    # What stays are data URIs and references inside an SVG.
    assert page.addresses
    assert all(address.startswith(("data:", "#")) for address in page.addresses)
    assert not re.search(r"@import|url\((?!#)", text)
    assert "script" not in page.tags
    assert page.tags.count("img") == 2 * 2
    assert "the large &lt;red&gt; square" in text
    assert "<red>" not in text


def test_separate_tables_for_separate_data(
    make_run: MakeRun, cfg: DictConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run("none", limit=10)
    make_run("none", limit=20)
    report(cfg)
    printed = capsys.readouterr().out
    assert "limit=10" in printed
    assert "limit=20" in printed


def test_unfinished_runs_are_named(
    make_run: MakeRun, cfg: DictConfig, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    make_run("none")
    (make_run("fastv").folder / "metrics.json").unlink()
    report(cfg)
    assert "not shown, unfinished: fastv-tiny-scenes-" in capsys.readouterr().out
    assert "unfinished: fastv-tiny-scenes-" in (tmp_path / "demo" / "report.html").read_text()


def test_without_vanilla_the_table_says_how_to_get_it(
    make_run: MakeRun, cfg: DictConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run("fastv")
    report(cfg)
    assert "run policy=none to compare with vanilla" in capsys.readouterr().out


def test_a_run_that_failed_altogether_is_shown(
    make_run: MakeRun, cfg: DictConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run("none")
    make_run("fastv", errors=40)
    report(cfg)
    assert "fastv: 40 of 40 samples failed" in capsys.readouterr().out


def test_no_runs_names_the_command(cfg: DictConfig) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"no runs in .*demo: .*ivcprune -m experiment=demo"
    ):
        report(cfg)


def test_negative_gallery_is_refused(cfg: DictConfig) -> None:
    with pytest.raises(ValueError, match=r"job\.gallery is -1"):
        report(cfg, gallery=-1)


def test_a_benchmarks_own_metric_is_what_counts(make_run: MakeRun) -> None:
    """Its headline score is shown, in its unit, and runs under other judges stand apart."""
    runs = [make_run("none", accuracy=0.95), make_run("fastv", accuracy=0.8)]
    runs.append(make_run("random", accuracy=0.7))
    for run, value, judge in zip(
        runs, (1500.0, 1200.0, 900.0), ("none", "none", "gpt"), strict=True
    ):
        path = run.folder / "metrics.json"
        metrics = json.loads(path.read_text())
        metrics["scores"]["mme"] = {"value": value, "low": value - 50, "high": value + 50, "n": 40}
        metrics |= {"headline": ["mme"], "units": {"mme": "points of 2000"}}
        metrics["judge"] = {"name": judge, "cases": 5, "settled": 3 * (judge == "gpt")}
        path.write_text(json.dumps(metrics))
    groups = compare([load_run(run.folder) for run in runs])
    by_size = sorted(groups, key=lambda group: -len(group.entries))
    assert [[e.run.policy for e in group.entries] for group in by_size] == [
        ["none", "fastv"],
        ["random"],
    ]
    assert by_size[0].tasks == ("mme",)
    assert by_size[0].entries[1].average == pytest.approx(80.0)
    assert notes(by_size[0]) == [
        "mme: in points of 2000",
        "none: 5 replies that exact matching cannot read were not judged",
        "fastv: 5 replies that exact matching cannot read were not judged",
    ]
    assert notes(by_size[1])[1] == "random: judge gpt settled 3 of 5 replies"
    page = render_page("demo", groups, [], gallery=0)
    assert "points of 2000" in page
    assert "1200.0" in page
