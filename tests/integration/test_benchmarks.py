"""Every benchmark from its source's format to its figures; the real sources with a network.

Loading, decoding, reading replies and aggregating are those of a run; the replies are scripted.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from omegaconf import OmegaConf

from benchmark_fixtures import FIXTURES, REFUSAL, Fixture
from ivcprune.configuration.build import build_source, compose
from ivcprune.configuration.data_groups import data_groups
from ivcprune.data.batch import decode
from ivcprune.data.datamodule import check_canonical
from ivcprune.data.prompts import for_benchmark, to_messages
from ivcprune.data.sample import FEATURES, Sample
from ivcprune.data.sources import Source
from ivcprune.data.tables import TableSource
from ivcprune.jobs import predict as predict_job
from ivcprune.metrics.aggregators import unscorable
from ivcprune.metrics.scoring import Conventions, check_parser, published_reading, read_reply
from ivcprune.runs import results
from ivcprune.runs.directory import new_status
from ivcprune.runs.schema import SampleRow
from source_formats import IMAGE, TEXT, png, stored, write_hub, write_json

TABLE = Path(__file__).parents[2] / "docs" / "benchmarks.md"
DOCS = Path(__file__).parents[2] / "docs" / "adding_a_benchmark.md"
BY_NAME = {fixture.name: fixture for fixture in FIXTURES}
PROFILES = ("qwen_custom", "internvl", "deepseek_vl2", "llava")
"""Prompt profiles of the paper's families."""


def load(name: str, folder: Path, overrides: list[str]) -> tuple[dict[str, str], Source, Dataset]:
    cfg = compose([f"data={name}", *overrides])
    source = build_source(cfg)
    samples = source.load(folder / "cache")
    check_canonical(samples, name)
    assert samples.features == FEATURES
    return {"metrics": cfg.data.metrics, "parser": cfg.data.parser}, source, samples


def reply_to(fixture: Fixture, sample_id: str) -> str:
    return fixture.replies.get(sample_id, fixture.replies.get(f"{sample_id}-0", ""))


def prompts_of(profile: str, benchmark: str) -> dict[str, str]:
    text = (resources.files("ivcprune.conf") / "prompt" / f"{profile}.yaml").read_text("utf-8")
    return for_benchmark(dict(OmegaConf.create(text)), benchmark)


def check_asked(sample: Sample, prompts: dict[str, str]) -> None:
    """What it is asked with holds its question, each option on one line, and its images."""
    (turn,) = to_messages(sample, prompts)
    text = "".join(part.get("text", "") for part in turn["content"])
    lines = re.findall(r"^\(?[A-Z][.)] (.*)$", text, re.MULTILINE)
    assert sample.question in text
    # Without the handling of a trap, options may be a part of the question and known to nobody.
    assert not sample.choices or lines == [choice for choice in sample.choices if choice]
    assert [part["type"] for part in turn["content"]].count("image") == len(sample.images)


def predict(fixture: Fixture, source: Source, samples: Dataset, parser: str) -> list[SampleRow]:
    """The rows that a run would log."""
    rows = []
    prompts = [prompts_of(profile, fixture.name) for profile in PROFILES]
    for row in samples.with_format("arrow")[:].to_pylist():
        try:
            sample = decode(row, source.frames)
        except Exception as error:
            rows.append(SampleRow(row["id"], row["task"], 0, row["category"], error=repr(error)))
            continue
        for templates in prompts:
            check_asked(sample, templates)
        size = (sample.width, sample.height)
        reply, how = reply_to(fixture, sample.id), Conventions("plain", size, parser)
        reading, published = (read(sample, reply, how) for read in (read_reply, published_reading))
        score = fixture.marks.get(sample.id, reading.score)
        about = {"category": sample.category, "prediction": reply}
        read = {"parsed": reading.parsed, "score": score}
        read |= {"published_parsed": published.parsed}
        read |= {"published_score": fixture.marks.get(sample.id, published.score)}
        rows.append(SampleRow(sample.id, sample.task, 0, **about, **read))
    return rows


@dataclass(frozen=True)
class Figures:
    """What a benchmark comes to: scores by name in both readings, the names it is quoted by, failed
    samples."""

    values: dict[str, float | None]
    published: dict[str, float | None]
    headline: list[str]
    failed: list[str]

    @property
    def quoted(self) -> list[float | None]:
        return [values[name] for values in (self.values, self.published) for name in self.headline]


def figures(fixture: Fixture, folder: Path, *overrides: str) -> Figures:
    folder.mkdir(exist_ok=True)
    overrides = (*fixture.write(folder), *overrides)
    how, source, samples = load(fixture.name, folder, list(overrides))
    check_parser(how["parser"], samples["task"])
    assert not unscorable(how["metrics"], results.scored_samples(samples))
    rows = predict(fixture, source, samples, how["parser"])
    own, published = (
        results.benchmark_scores(how["metrics"], samples, reading)
        for reading in (rows, [row.as_published() for row in rows])
    )
    metrics = results.metrics(rows, new_status(), own, published=published)
    read, as_published = (
        {name: score["value"] for name, score in source["scores"].items()}
        for source in (metrics, metrics["published"])
    )
    failed = [row.sample_id for row in rows if row.error is not None]
    return Figures(read, as_published, metrics["headline"], failed)


def test_every_benchmark_has_a_fixture() -> None:
    members = [name for group in data_groups().values() for name in group]
    assert sorted(members) == sorted(BY_NAME)
    assert len(members) == len(set(members)) == 33


@pytest.mark.parametrize("name", BY_NAME)
def test_every_fixture_holds_what_can_go_wrong(name: str) -> None:
    fixture = BY_NAME[name]
    replies = list(fixture.replies.values())
    assert len(replies) >= 8
    assert REFUSAL in replies
    assert fixture.failed  # an image or video that is missing or damaged
    assert fixture.trap
    if fixture.expected.keys() & {"circular_accuracy"}:
        assert {str(int(key) % 1_000_000) for key in fixture.replies} < set(fixture.replies)


def test_every_benchmark_is_in_the_documented_table() -> None:
    """With the number of its samples and its task."""
    rows = [line.split("|") for line in TABLE.read_text("utf-8").splitlines() if "|" in line]
    cells = {row[1].strip(" `"): row for row in rows if len(row) == 9}
    for name in BY_NAME:
        cfg = compose([f"data={name}"]).data
        assert str(cfg.expected_samples) in cells[name][3]
        assert f"`{cfg.task}`" in cells[name][4]
        assert cells[name][6].strip()
        assert ("md5" in cells[name][7]) == (cfg.get("md5") is not None)


@pytest.mark.parametrize("name", BY_NAME)
def test_replies_come_to_the_figures_worked_by_hand(name: str, tmp_path: Path) -> None:
    fixture = BY_NAME[name]
    found = figures(fixture, tmp_path)
    values = {key: found.values.get(key) for key in fixture.expected}
    assert values == pytest.approx(fixture.expected)
    published = {key: found.published.get(key) for key in fixture.expected}
    assert published == pytest.approx({**fixture.expected, **fixture.published})
    assert set(found.headline) <= set(fixture.expected)
    assert tuple(found.failed) == fixture.failed


@pytest.mark.parametrize("name", BY_NAME)
def test_without_the_handling_of_its_trap_the_figures_differ(name: str, tmp_path: Path) -> None:
    fixture = BY_NAME[name]
    quoted = figures(fixture, tmp_path / "with").quoted
    without = figures(fixture, tmp_path / "without", *fixture.trap).quoted
    assert None not in without
    assert without != pytest.approx(quoted)


def yaml_of(name: str) -> str:
    """The example of docs/adding_a_benchmark.md that has this name."""
    examples = re.findall(r"^```yaml\n(.*?)^```", DOCS.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    (example,) = [text for text in examples if f"name: {name}\n" in text]
    return str(example)


def run_example(name: str, folder: Path, *overrides: str) -> dict[str, Any]:
    (folder / "conf/data").mkdir(parents=True)
    (folder / f"conf/data/{name}.yaml").write_text(yaml_of(name))
    paths = [f"paths.output_dir={folder / 'out'}", f"paths.cache_dir={folder / 'cache'}"]
    searchpath = f"hydra.searchpath=[file://{folder / 'conf'}]"
    settings = ["trainer=cpu", "threads=1", "model.max_new_tokens=2", "policy=none"]
    predict_job.run(compose([searchpath, f"data={name}", *paths, *settings, *overrides]))
    (metrics,) = (folder / "out").rglob("metrics.json")
    return dict(json.loads(metrics.read_text()))


def test_the_documented_hub_benchmark_runs(tmp_path: Path) -> None:
    rows = [{"photo": stored(png(seed=i)), "question": "how much?", "price": f"{i}"}
            for i in range(3)]  # fmt: skip
    features = {"photo": IMAGE, "question": TEXT, "price": TEXT}
    hub_id = write_hub(tmp_path / "hub", {("default", "test"): rows}, features)
    metrics = run_example("menus", tmp_path, f"data.hub_ids=[{hub_id}]")
    assert (metrics["data"], metrics["n"], metrics["errors"]) == ("menus", 3, 0)
    assert metrics["scores"]["vqa"]["n"] == 3


def test_the_documented_file_benchmark_runs(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images/a.png").write_bytes(png())
    row = {"expression": "the hammer", "bbox": [1, 2, 3, 4]}
    write_json(tmp_path / "e.json", [row | {"file_name": name} for name in ("a.png", "lost.png")])
    folders = [f"data.path={tmp_path / 'e.json'}", f"data.image_folder={tmp_path / 'images'}"]
    metrics = run_example("workbench", tmp_path, *folders)
    assert (metrics["data"], metrics["n"], metrics["errors"]) == ("workbench", 2, 1)
    assert metrics["scores"]["grounding"]["n"] == 1


@pytest.mark.network
@pytest.mark.parametrize("name", BY_NAME)
def test_the_real_source_has_its_rows(name: str, tmp_path: Path) -> None:
    """Downloads tens of gigabytes; samples of unpacked videos and images need no files here."""
    (tmp_path / "empty").mkdir()
    folders = [f"data.{kind}_folder={tmp_path / 'empty'}" for kind in ("image", "video")]
    _, source, samples = load(name, Path("~/.cache/ivcprune").expanduser(), folders)
    assert isinstance(source, TableSource)
    assert len(samples) == source.expected_samples
