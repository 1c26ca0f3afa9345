"""A whole run of the command line on a tiny model of a family, as a user starts it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from torch import Tensor

from ivcprune import cli
from ivcprune.data.batch import Batch
from ivcprune.evaluation.module import PredictModule
from ivcprune.policy import BoundStage
from ivcprune.pruning import prefill
from ivcprune.pruning.statistics import PrefillStatistics
from ivcprune.selectors.selection import Selection
from ivcprune.testing import tiny_model
from ivcprune.tokens import VisualTokens
from published_rules import Image, coordinate_scores

DEPTH = 4

Reply = Callable[[Sequence[float], tuple[int, int], tuple[int, int]], str]
"""How the model would write a true box: (box, original size, input size) -> reply."""


@dataclass(frozen=True)
class Seen:
    """What a selection saw of a sample.

    Attributes:
        image: its value vectors and positions, for `published_rules`.
        special, eligible: of its visual tokens, bool `[N]`.
        heights: where they are in the image, from 0 at the top to 1, `[N]`.
    """

    image: Image
    special: np.ndarray
    eligible: np.ndarray
    heights: np.ndarray

    @classmethod
    def of(cls, tokens: VisualTokens, sample: int) -> Seen:
        values, real = (x[sample].numpy() for x in tokens.sequence_values())
        place = np.cumsum(real) - 1  # of each slot among the real tokens
        own = (tokens.sample == sample)[:, None] & tokens.valid
        text = tokens.text("after_image")
        positions = tokens.positions[:, own].numpy().astype(float)
        scores = coordinate_scores(positions, tokens.inv_freq.numpy().astype(float))
        return cls(
            Image(
                values[:, real].astype(float),
                place[tokens.slot[own].numpy()].tolist(),
                place[text.slots[sample][text.mask[sample]].numpy()].tolist(),
                *scores,
            ),
            special=tokens.special[own].numpy(),
            eligible=tokens.eligible[own].numpy(),
            heights=tokens.xy[own][:, 1].numpy(),
        )


@dataclass
class FamilyRun:
    """What a run left behind, and what was measured while it went on.

    Attributes:
        rows: of `samples.parquet`.
        metrics: `metrics.json`.
        visual: visual tokens in each layer's cache, `[layers, B]` for each batch.
        sample_ids: of those batches.
        chosen_from: by sample, what the selection saw of it.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    metrics: dict[str, Any] = field(default_factory=dict)
    visual: list[Tensor] = field(default_factory=list)
    sample_ids: list[list[str]] = field(default_factory=list)
    chosen_from: dict[str, Seen] = field(default_factory=dict)

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

    tables: list[list[Seen]] = []
    check = prefill.checked_selection

    def selected(stage: BoundStage, chosen: Any, tokens: VisualTokens) -> Selection:
        samples = range(int(tokens.sample.max()) + 1)
        tables.append([Seen.of(tokens, sample) for sample in samples])
        return check(stage, chosen, tokens)

    def observed(module: PredictModule, batch: Batch) -> tuple[list[str], PrefillStatistics]:
        replies, stats = generate(module, batch)
        n_text = stats.kv_tokens.new_tensor(stats.n_text)
        result.visual.append(stats.kv_tokens - n_text)
        names = [sample.id for sample in batch.samples]
        result.sample_ids.append(names)
        if tables:
            result.chosen_from |= dict(zip(names, tables.pop(), strict=True))
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
        patch.setattr(prefill, "checked_selection", selected)
        patch.setattr("sys.argv", ["ivcprune", *arguments])
        cli.main()
    (finished,) = output_dir.glob("default/*/metrics.json")
    result.metrics = json.loads(finished.read_text())
    result.rows = pq.read_table(finished.parent / "samples.parquet").to_pylist()
    return result
