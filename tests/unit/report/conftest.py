"""Synthetic run directories, shaped as the predict job writes them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from omegaconf import OmegaConf
from PIL import Image, ImageDraw

from ivcprune.metrics.aggregate import aggregate
from ivcprune.runs.read import Run, load_run

SIZE = (112, 84)
GRID = (6, 8)
MakeRun = Callable[..., Run]


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """`make_run("fastv", accuracy=0.8)` writes a run under `tmp_path / "demo"` and loads it."""

    def make(policy: str, **settings: Any) -> Run:
        return write_run(tmp_path / "demo", policy, **settings)

    return make


def write_run(
    experiment: Path,
    policy: str,
    accuracy: float = 0.9,
    share: float = 0.5,
    samples: int = 40,
    limit: int | None = None,
    overlays: int = 4,
    errors: int = 0,
    settings: dict[str, Any] | None = None,
    layers: dict[str, int] | None = None,
    overrides: Sequence[str] = (),
) -> Run:
    """`settings` are of the policy; `layers` are those at which its stages acted."""
    told = (share, limit, settings, layers, overrides)
    key = f"{policy}-tiny-scenes-{crc32(repr(told).encode()):08x}"
    folder = experiment / key
    (folder / "images").mkdir(parents=True)
    rng = random.Random(policy)
    share = 1.0 if policy == "none" else share
    rows = [_row(number, accuracy, share, rng, number < errors) for number in range(samples)]
    metrics = aggregate(rows)
    categories = metrics.pop("categories")
    cfg = {
        "model": {"name": "tiny", "family": "qwen2_5_vl"},
        "data": {"name": "scenes", "split": "test", "limit": limit},
        "policy": {"name": policy, "average_tokens": share} | (settings or {}),
        "seed": 0,
        "experiment_name": experiment.name,
        "paths": {"output_dir": str(experiment.parent)},
    }
    (folder / "overrides.txt").write_text("".join(f"{override}\n" for override in overrides))
    OmegaConf.save(OmegaConf.create(cfg), folder / "config.yaml")
    pq.write_table(pa.Table.from_pylist(rows), folder / "samples.parquet")
    entries = [_tokens(folder, row, rng) for row in rows[:overlays] if not row["error"]]
    (folder / "tokens.json").write_text(json.dumps(entries))
    figures = {
        "policy": policy,
        "model": "tiny",
        "data": "scenes",
        "n": samples,
        "errors": errors,
        "average_tokens": share if errors < samples else None,
        "kv_bytes_per_sample": int(221_184 * share) if errors < samples else None,
        "layers": layers or {},
        "scores": metrics,
        "categories": categories,
        "seconds": 1.0,
        "samples_per_second": 40.0,
    }
    (folder / "metrics.json").write_text(json.dumps(figures))
    return load_run(folder)


def _row(
    number: int, accuracy: float, share: float, rng: random.Random, failed: bool
) -> dict[str, Any]:
    grounding = number % 2 == 0
    score = float(rng.random() < accuracy)
    answer = f"[{10 + number % 3}, 12, 60, 50]" if grounding else "blue"
    return {
        "sample_id": f"scenes-test-{number:04d}",
        "task": "grounding" if grounding else "vqa",
        "category": "attribute" if grounding else "colour",
        "question": "the large <red> square" if grounding else "What colour is the circle?",
        "prediction": "" if failed else answer if score else "unsure",
        "parsed": answer if score else "",
        "target": answer,
        "score": None if failed else score,
        "n_visual": None if failed else GRID[0] * GRID[1],
        "n_kept": None if failed else round(GRID[0] * GRID[1] * share),
        "kept_by_stage": "{}",
        "average_tokens": share,
        "kv_bytes": int(221_184 * share),
        "error": "cannot identify image file" if failed else None,
        "rank": 0,
    }


def _tokens(folder: Path, row: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    image = Image.new("RGB", SIZE, "#f4ead2")
    draw = ImageDraw.Draw(image)
    draw.rectangle((12, 12, 60, 50), fill="#c0392b")
    draw.ellipse((70, 40, 104, 74), fill="#2e6fbd")
    name = f"images/{row['sample_id']}.png"
    image.save(folder / name)
    share = row["n_kept"] / row["n_visual"]
    keep = [[int(rng.random() < share) for _ in range(GRID[1])] for _ in range(GRID[0])]
    grounding = row["task"] == "grounding"
    return {
        "sample_id": row["sample_id"],
        "maps": [{"image": 0, "kind": "image", "grid": list(GRID), "keep": keep}] * (share < 1),
        "input_size": list(SIZE),
        "predicted_box": [14, 10, 64, 52] if grounding else None,
        "true_box": [12, 12, 60, 50] if grounding else None,
        "image_file": name,
    }
