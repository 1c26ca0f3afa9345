"""The benchmark `scenes` as a canonical dataset, drawn once and cached as parquet."""

from __future__ import annotations

import io
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset

from ..sample import DEFAULTS, FEATURES
from .drawing import draw
from .questions import ask, ground
from .scene import SPLITS, Split, sample_scene

GENERATOR_VERSION = 3
"""Part of the cache's name: raise it when a seed generates something else or columns change."""


def load_scenes(
    split: Split = "test",
    size: int = 1200,
    seed: int = 0,
    cache_dir: str | Path = "outputs/cache",
) -> Dataset:
    """The first `size` samples of a split, alternately grounding and vqa, each on its own image.

    Two processes may ask for the same samples at once: each draws them in a folder of its own
    and the first one to finish puts it in place.

    Args:
        split: "train", "validation" or "test"; no scene is in two of them.
        size: number of samples.
        seed: other seeds give other samples of the same split.
        cache_dir: where the parquet files are kept between runs.

    Returns:
        `size` rows with the columns of `FEATURES`.

    Raises:
        ValueError: unknown split, or a size below 1.
    """
    if split not in SPLITS:
        raise ValueError(f"data.split is {split!r}; scenes has the splits {', '.join(SPLITS)}.")
    if size < 1:
        raise ValueError(f"data.size is {size}; it must be at least 1.")
    folder = Path(cache_dir) / f"scenes-v{GENERATOR_VERSION}-{split}-{size}-seed{seed}"
    if not folder.exists():
        _materialise(folder, split, size, seed)
    parquet = str(folder / "samples.parquet")
    return Dataset.from_parquet(parquet, cache_dir=str(folder / "arrow"))


def _materialise(folder: Path, split: Split, size: int, seed: int) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        rows = [make_row(split, index, seed) for index in range(size)]
        Dataset.from_list(rows, features=FEATURES).to_parquet(str(draft / "samples.parquet"))
        draft.rename(folder)
    except OSError:
        if not folder.exists():  # otherwise another process was faster, with the same samples
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def make_row(split: Split, index: int, seed: int) -> dict[str, Any]:
    """Sample `index` of a split as a row of `FEATURES`; a function of its arguments alone."""
    rng = np.random.default_rng([seed, SPLITS.index(split), index])
    scene = sample_scene(rng, split)
    question = (ground if index % 2 == 0 else ask)(rng, scene)
    grounding = question.task == "grounding"
    png = io.BytesIO()
    draw(scene, rng).save(png, "PNG", compress_level=1)
    identity = f"scenes-{split}-{index:06d}-{question.task}"
    return DEFAULTS | {
        "id": identity,
        "group_id": identity,
        "task": question.task,
        "images": [{"bytes": png.getvalue(), "path": None}],
        "question": question.text,
        "answers": [] if grounding else [question.answer],
        "boxes": [list(scene.things[question.targets[0]].box)] if grounding else [],
        "category": question.category,
        "width": scene.width,
        "height": scene.height,
    }
