"""What the prompts of a model are like: tokens of a few samples, FLOPs of its layers on one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ..api import prune
from ..data.batch import Batch
from ..data.datamodule import PredictData
from ..efficiency.layer_flops import layer_flops
from .agreement import ONE_TOKEN
from .comparison import VANILLA
from .cost import Prefills


def probe(model: Any, data: PredictData) -> tuple[Prefills, list[tuple[int, int]]]:
    """FLOPs of the layers, and (visual, other) tokens of samples spread over the data.

    Raises:
        ValueError: none of them can be asked, or none has a picture.
    """
    batch = _spread(data).to(model.device)
    if not batch.samples:
        raise ValueError(
            f"data {data.source.name!r}: none of the samples that were tried can be asked "
            f"({batch.failures[0].sample_id}: {batch.failures[0].message}): correct the data"
        )
    sizes = _sizes(model, batch.inputs)
    if not any(n for n, _ in sizes):
        raise ValueError(
            f"data {data.source.name!r}: none of the samples that were tried has a visual token, "
            "so there is nothing to prune: name the column of pictures with data.columns.image"
        )
    largest = max(range(len(sizes)), key=lambda i: sum(sizes[i]))
    alone = data.collate.encode([batch.samples[largest]]).to(model.device)
    with torch.inference_mode():
        return Prefills(layer_flops(model, alone.inputs)), sizes


def _spread(data: PredictData) -> Batch:
    """As many samples as a batch has, evenly over the data."""
    every = max(1, data.total // data.batch_size)
    rows = data.selected.with_format("arrow")[list(range(0, data.total, every))[: data.batch_size]]
    return data.collate([rows.to_pylist()])


def _sizes(model: Any, inputs: Mapping[str, Any]) -> list[tuple[int, int]]:
    with prune(model, VANILLA) as run, ONE_TOKEN.of(model), torch.inference_mode():
        model.generate(**inputs)
    assert run.stats is not None
    return list(zip(run.stats.n_visual, run.stats.n_text, strict=True))
