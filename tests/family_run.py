"""A whole run of the command line on a tiny model of a family, as a user starts it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from torch import Tensor

from ivcprune import cli
from ivcprune.data.batch import Batch
from ivcprune.evaluation.module import PredictModule
from ivcprune.statistics import PrefillStatistics
from ivcprune.testing import tiny_model

DEPTH = 4

Reply = Callable[[Sequence[float], tuple[int, int], tuple[int, int]], str]
"""How the model would write a true box: (box, original size, input size) -> reply."""


@dataclass
class FamilyRun:
    """What a run left behind, and what was measured while it went on.

    Attributes:
        rows: of `samples.parquet`.
        metrics: `metrics.json`.
        visual: visual tokens in each layer's cache, `[layers, B]` for each batch.
        sample_ids: of those batches.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    metrics: dict[str, Any] = field(default_factory=dict)
    visual: list[Tensor] = field(default_factory=list)
    sample_ids: list[list[str]] = field(default_factory=list)

    @property
    def per_layer(self) -> dict[str, list[int]]:
        """Visual tokens in the cache of each layer, by sample."""
        return {
            name: visual[:, i].tolist()
            for visual, names in zip(self.visual, self.sample_ids, strict=True)
            for i, name in enumerate(names)
        }


def save_tiny(family: str, folder: Path) -> Path:
    """A checkpoint folder of the family's tiny model, as `save_pretrained` writes it."""
    model, processor = tiny_model(family, depth=DEPTH)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def run_family(
    model: str,
    checkpoint: Path,
    output_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    *overrides: str,
    reply: Reply | None = None,
) -> FamilyRun:
    """`ivcprune model=<model> model.path=<checkpoint> data=scenes data.limit=8 ...`, in-process.

    Args:
        model: a file of `conf/model/`, whose prompts, limits and box format apply.
        reply: where given, grounding questions are answered by it in the place of the model.
    """
    result = FamilyRun()
    generate = PredictModule._generate

    def observed(module: PredictModule, batch: Batch) -> tuple[list[str], PrefillStatistics]:
        replies, stats = generate(module, batch)
        n_text = stats.kv_tokens.new_tensor(stats.n_text)
        result.visual.append(stats.kv_tokens - n_text)
        result.sample_ids.append([sample.id for sample in batch.samples])
        for i, sample in enumerate(batch.samples):
            if reply is not None and sample.boxes:
                size = (sample.width, sample.height)
                replies[i] = reply(sample.boxes[0], size, batch.input_sizes[i])
        return replies, stats

    arguments = [
        f"model={model}",
        f"model.path={checkpoint}",
        "model.max_new_tokens=3",
        "data=scenes",
        "data.size=8",
        "data.limit=8",
        "batch_size=4",
        "threads=1",
        "trainer=cpu",
        f"paths.output_dir={output_dir}",
        f"paths.cache_dir={output_dir / 'cache'}",
        *overrides,
    ]
    with monkeypatch.context() as patch:
        patch.setattr(PredictModule, "_generate", observed)
        patch.setattr("sys.argv", ["ivcprune", *arguments])
        cli.main()
    (finished,) = output_dir.glob("default/*/metrics.json")
    result.metrics = json.loads(finished.read_text())
    result.rows = pq.read_table(finished.parent / "samples.parquet").to_pylist()
    return result
