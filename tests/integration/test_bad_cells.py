"""Bad cells in a run: error rows beside finished ones, tried again when they are corrected."""

from __future__ import annotations

import csv
import json
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from datasets import Value
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmark_fixtures import FIXTURES
from ivcprune import cli
from ivcprune.configuration.build import build_model_spec, compose
from ivcprune.data.batch import Batch
from ivcprune.data.datamodule import PredictData
from ivcprune.data.hub import HubSource
from ivcprune.evaluation.module import PredictModule, annotated_boxes, target_of
from ivcprune.metrics.scoring import Conventions, read_reply
from ivcprune.models.registry import family_named
from ivcprune.pruning.statistics import PrefillStatistics
from source_formats import IMAGE, NUMBERS, TEXT, TEXTS, Row, png, stored, write_hub

BY_NAME = {fixture.name: fixture for fixture in FIXTURES}


class Watched:
    """Runs of the command line, and the samples that the model was shown."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.shown = folder, list[str]()
        generate = PredictModule._generate

        def observed(module: PredictModule, batch: Batch) -> tuple[list[str], PrefillStatistics]:
            self.shown += [sample.id for sample in batch.samples]
            _, stats = generate(module, batch)
            return ["green"] * len(batch.samples), stats

        patch.setattr(PredictModule, "_generate", observed)
        self._patch = patch

    def run(self, *overrides: str) -> list[Row]:
        """The rows of `samples.parquet`."""
        self.shown.clear()
        settings_ = ["model.max_new_tokens=1", "batch_size=4", "threads=1", "trainer=cpu"]
        paths = [f"paths.{name}_dir={self.folder / name}" for name in ("output", "cache")]
        command = ["ivcprune", "model=tiny", "policy=ivc_prune", *overrides, *settings_, *paths]
        self._patch.setattr("sys.argv", command)
        cli.main()
        (file,) = self.folder.glob("output/*/*/samples.parquet")
        rows: list[Row] = pq.read_table(file).to_pylist()
        return rows

    @property
    def log(self) -> bytes:
        (file,) = self.folder.glob("output/*/*/samples/rank00.jsonl")
        return file.read_bytes()

    @property
    def metrics(self) -> dict[str, Any]:
        (file,) = self.folder.glob("output/*/*/metrics.json")
        return dict(json.loads(file.read_text()))


def test_bad_cells_are_errors_with_their_reasons_and_are_tried_again_once_corrected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = ["data=gqa_choose_attr", *BY_NAME["gqa_choose_attr"].write(tmp_path)]
    table = tmp_path / "gqa.csv"
    with table.open(newline="") as lines:
        good = list(csv.DictReader(lines))
    ids = [row["question_id"] for row in good]
    bad = [dict(row) for row in good]
    bad[1]["central object w"] = "wide"
    bad[3]["answer"] = ""
    bad[4]["central object x"] = "1e400"

    def write(rows: list[Row]) -> None:
        with table.open("w", newline="") as lines:
            writer = csv.DictWriter(lines, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)

    cli_run = Watched(tmp_path, monkeypatch)
    write(bad)
    rows = cli_run.run(*source)
    errors = {row["sample_id"]: row["error"] for row in rows if row["error"]}
    assert [row["sample_id"] for row in rows] == ids
    assert list(errors) == [ids[1], ids[3], ids[4], ids[6]]
    assert "row 1: the box ['4', '5', 'wide', '20'] is not four numbers" in errors[ids[1]]
    assert "row 3: there is no answer" in errors[ids[3]]
    assert "row 4: the box" in errors[ids[4]]
    assert "FileNotFoundError" in errors[ids[6]]  # the image, which the fixture leaves out
    assert {row["score"] for row in rows if row["error"]} == {None}
    assert sorted(cli_run.shown) == [ids[0], ids[2], ids[5], ids[7]]
    assert (cli_run.metrics["n"], cli_run.metrics["errors"]) == (8, 4)
    assert cli_run.metrics["scores"]["vqa"] | {"low": 0, "high": 0} == {
        "value": 100.0, "n": 4, "low": 0, "high": 0}  # fmt: skip
    assert "3 of 8 samples cannot be used (row 1: the box" in capsys.readouterr().out

    before = cli_run.log
    cli_run.run(*source)
    assert cli_run.shown == []
    write(good)
    (tmp_path / "images" / "6.jpg").write_bytes(png(seed=6))
    rows = cli_run.run(*source)
    assert sorted(cli_run.shown) == [ids[1], ids[3], ids[4], ids[6]]
    assert not any(row["error"] for row in rows)
    assert cli_run.log.startswith(before)
    assert cli_run.metrics["errors"] == 0


def test_a_category_that_the_metric_does_not_know_costs_its_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {"question_id": f"{i // 2}.png", "image": stored(png(seed=i)), "question": f"{i}?",
         "answer": ["Yes", "No"][i % 2], "category": "OCR" if i else "weather"}
        for i in range(4)
    ]  # fmt: skip
    features = {"question_id": TEXT, "image": IMAGE, "question": TEXT, "answer": TEXT,
                "category": TEXT}  # fmt: skip
    hub_id = write_hub(tmp_path / "hub", {("default", "test"): rows}, features)
    cli_run = Watched(tmp_path, monkeypatch)
    done = cli_run.run("data=mme", f"data.hub_ids=[{hub_id}]", "data.expected_rows=4",
                       "data.expected_samples=4")  # fmt: skip
    assert [bool(row["error"]) for row in done] == [True, False, False, False]
    assert "MME has no category 'weather'" in done[0]["error"]
    assert cli_run.shown == ["000001", "000002", "000003"]
    assert cli_run.metrics["scores"]["mme"]["n"] == 3
    assert "1 of 4 samples cannot be scored" in capsys.readouterr().out


@cache
def _tiny() -> tuple[Any, Any, dict[str, str], str]:
    spec = build_model_spec(compose(["model=tiny"]))
    return family_named(spec.family), spec.load_processor(), dict(spec.prompts), spec.box_format


PICTURE = png(30, 20)
DAMAGED = (PICTURE[:60], PICTURE[:-30], b"", png(1, 1), png(900, 3))
PICTURES = st.one_of(
    st.sampled_from([None, stored(PICTURE), *map(stored, DAMAGED)]),
    st.binary(max_size=40).map(stored),
)
WORDS = st.one_of(st.none(), st.text(max_size=12), st.sampled_from(["red", "A", "yes", "\x00"]))
SIDES = st.one_of(st.none(), st.lists(st.one_of(st.none(), st.floats()), max_size=5),
                  st.just([1.0, 2.0, 3.0, 4.0]))  # fmt: skip
FUZZED = st.fixed_dictionaries(
    {"image": PICTURES, "q": WORDS, "a": st.one_of(st.none(), st.lists(WORDS, max_size=3)),
     "o": st.one_of(st.none(), st.lists(WORDS, max_size=30)), "box": SIDES, "task": WORDS,
     "n": st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1))}
)  # fmt: skip
GOOD: Row = {"image": stored(PICTURE), "q": "which?", "a": ["A"], "o": ["red", "blue"],
             "box": [1.0, 2.0, 3.0, 4.0], "task": "multiple_choice", "n": 0}  # fmt: skip
FEATURES_OF_FUZZED = {"image": IMAGE, "q": TEXT, "a": TEXTS, "o": TEXTS, "box": NUMBERS,
                      "task": TEXT, "n": Value("int64")}  # fmt: skip
ROLES = {"image": "image", "question": "q", "answer": "a", "choices": "o", "box": "box",
         "group": "n", "category": ["n", "q"]}  # fmt: skip


@settings(deadline=None, max_examples=20, suppress_health_check=list(HealthCheck))
@given(
    rows=st.lists(FUZZED, min_size=1, max_size=6),
    reply=st.text(max_size=20),
    task=st.sampled_from(["multiple_choice", "grounding", "vqa_score", None]),
)
def test_whatever_is_in_the_rows_each_is_asked_or_an_error(
    rows: list[Row], reply: str, task: str | None
) -> None:
    family, processor, prompts, box_format = _tiny()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        hub_id = write_hub(folder / "hub", {("default", "test"): [GOOD, *rows]}, FEATURES_OF_FUZZED)
        source = HubSource(
            name="mine", hub_ids=[hub_id], split="test", task=task or "vqa", metadata={"n": "n"},
            columns=ROLES if task else ROLES | {"task": "task"}, expected_rows=len(rows) + 1,
        )  # fmt: skip
        data = PredictData(source, family, processor, prompts, 3, folder / "cache")
        data.setup()
        asked, failed = [], []
        for batch in data.predict_dataloader():
            failed += [failure.sample_id for failure in batch.failures]
            for i, sample in enumerate(batch.samples):
                asked.append(sample.id)
                annotated_boxes(sample)
                target_of(sample)
                read_reply(sample, reply, Conventions(box_format, batch.input_sizes[i]))
    assert "000000" in asked
    assert sorted(asked + failed) == [f"{i:06d}" for i in range(len(rows) + 1)]
