"""Every task type on the command line: the bundled model, pruned, on a small benchmark of each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from benchmark_fixtures import FIXTURES, Fixture
from ivcprune import cli
from ivcprune.data.batch import Batch
from ivcprune.evaluation.module import PredictModule
from ivcprune.metrics.scoring import SCORERS
from ivcprune.pruning.statistics import PrefillStatistics

BENCHMARKS = {
    "anls": "docvqa",
    "grounding": "refcoco_testa",
    "multiple_choice": "seedbench_image",
    "ocr_contains": "ocrbench",
    "open_answer": "mlvu_g",
    "video_multiple_choice": "videomme",
    "vqa": "gqa_choose_attr",
    "vqa_score": "textvqa",
    "yes_no": "pope",
}
BY_NAME = {fixture.name: fixture for fixture in FIXTURES}


def scripted(fixture: Fixture, batch: Batch, i: int) -> str:
    """The fixture's reply; boxes, which are in original pixels there, as the model sees them."""
    sample, (width, _) = batch.samples[i], batch.input_sizes[i]
    reply = fixture.replies.get(sample.id, "")
    if sample.task != "grounding":
        return reply
    words = (
        str(int(word) * width // sample.width) if word.isdigit() else word for word in reply.split()
    )
    return " ".join(words)


def run(fixture: Fixture, folder: Path, patch: pytest.MonkeyPatch) -> tuple[dict[str, Any], Path]:
    """`metrics.json` of a run whose replies are scripted, and its folder."""
    generate = PredictModule._generate

    def observed(module: PredictModule, batch: Batch) -> tuple[list[str], PrefillStatistics]:
        replies, stats = generate(module, batch)
        return [scripted(fixture, batch, i) for i in range(len(replies))], stats

    arguments = [
        *("model=tiny", f"data={fixture.name}", "policy=ivc_prune", *fixture.write(folder)),
        "model.min_pixels=3136",  # shows 40 x 40 as 56 x 56: boxes stay whole numbers
        *("model.max_new_tokens=2", "batch_size=4", "threads=1", "trainer=cpu", "overlays=0"),
        *(f"paths.output_dir={folder / 'out'}", f"paths.cache_dir={folder / 'cache'}"),
    ]
    patch.setattr(PredictModule, "_generate", observed)
    patch.setattr("sys.argv", ["ivcprune", *arguments])
    cli.main()
    (metrics,) = (folder / "out").rglob("metrics.json")
    return json.loads(metrics.read_text()), metrics.parent


def test_every_task_has_a_benchmark() -> None:
    assert set(BENCHMARKS) == set(SCORERS)


@pytest.mark.parametrize("task", sorted(BENCHMARKS))
def test_a_pruned_run_of_the_bundled_model_comes_to_the_figures_worked_by_hand(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fixture = BY_NAME[BENCHMARKS[task]]
    metrics, folder = run(fixture, tmp_path, monkeypatch)
    rows = pq.read_table(folder / "samples.parquet").to_pylist()
    failed = [row["sample_id"] for row in rows if row["error"] is not None]
    assert failed == list(fixture.failed)
    seen = [row for row in rows if row["error"] is None]
    assert {row["task"] for row in seen} == {task}
    assert all(row["n_kept"] == round(row["n_visual"] / 2) > 0 for row in seen)
    if task == "open_answer":  # for a judge alone, and there is none
        assert metrics["judge"]["cases"] == len(seen)
        assert metrics["scores"]["open_answer"]["value"] is None
        return
    values = {name: metrics["scores"][name]["value"] for name in fixture.expected}
    assert values == pytest.approx(fixture.expected)
