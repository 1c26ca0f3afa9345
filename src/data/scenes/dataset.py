"""The benchmark `scenes` and its pages as canonical datasets, drawn once, cached as parquet."""

from __future__ import annotations

import io
import shutil
import tempfile
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from datasets import Dataset

from ..sample import DEFAULTS, FEATURES
from .drawing import draw
from .pages import Layout, Page, sample_page
from .questions import Question, ask, ground
from .reading import look_up, read
from .scene import SPLITS, Split, sample_scene

Content = Literal["scenes", "scenes_read", "scenes_lookup"]
CONTENTS: tuple[Content, ...] = get_args(Content)
"""What is asked: boxes and questions about things; all strings of a page; one of its strings."""
CONTENT_OF: dict[Layout, Content] = {"read": "scenes_read", "lookup": "scenes_lookup"}

GENERATOR_VERSION = 3
"""Part of the cache's name: raise it when a seed generates something else or columns change."""


def load_scenes(
    split: Split = "test",
    size: int = 1200,
    seed: int = 0,
    cache_dir: str | Path = "outputs/cache",
    content: Content = "scenes",
) -> Dataset:
    """The first `size` samples of a split, each on its own image.

    Samples of "scenes" are alternately grounding and vqa.

    Two processes may ask for the same samples at once: each draws them in a folder of its own
    and the first one to finish puts it in place.

    Args:
        split: "train", "validation" or "test"; no scene is in two of them.
        size: number of samples.
        seed: other seeds give other samples of the same split.
        cache_dir: where the parquet files are kept between runs.
        content: one of `CONTENTS`.

    Returns:
        `size` rows with the columns of `FEATURES`.

    Raises:
        ValueError: unknown split or content, or a size below 1.
    """
    if content not in CONTENTS:
        raise ValueError(f"data.content is {content!r}: choose one of {list(CONTENTS)}")
    if split not in SPLITS:
        raise ValueError(f"data.split is {split!r}; scenes has the splits {', '.join(SPLITS)}.")
    if size < 1:
        raise ValueError(f"data.size is {size}; it must be at least 1.")
    folder = Path(cache_dir) / f"{content}-v{GENERATOR_VERSION}-{split}-{size}-seed{seed}"
    if not folder.exists():
        _materialise(folder, content, split, size, seed)
    parquet = str(folder / "samples.parquet")
    return Dataset.from_parquet(parquet, cache_dir=str(folder / "arrow"))


def _materialise(folder: Path, content: Content, split: Split, size: int, seed: int) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        rows = [make_row(split, index, seed, content) for index in range(size)]
        Dataset.from_list(rows, features=FEATURES).to_parquet(str(draft / "samples.parquet"))
        draft.rename(folder)
    except OSError:
        if not folder.exists():  # otherwise another process was faster, with the same samples
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def make_row(split: Split, index: int, seed: int, content: Content = "scenes") -> dict[str, Any]:
    """Sample `index` of a split as a row of `FEATURES`; a function of its arguments alone."""
    kind = CONTENTS.index(content)
    rng = np.random.default_rng([seed, SPLITS.index(split), index, *([kind] if kind else [])])
    page, question = _draft(rng, split, index, content)
    png = io.BytesIO()
    draw(page.scene, rng, page.writings).save(png, "PNG", compress_level=1)
    grounding = question.task == "grounding"
    boxes = [page.writings[index].box for index in question.spelled]
    if grounding:
        boxes = [page.scene.things[question.targets[0]].box]
    task = f"-{question.task}" if content == "scenes" else ""
    identity = f"{content}-{split}-{index:06d}{task}"
    return DEFAULTS | {
        "id": identity,
        "group_id": identity,
        "task": question.task,
        "images": [{"bytes": png.getvalue(), "path": None}],
        "question": question.text,
        "answers": [] if grounding else [question.answer],
        "boxes": [list(box) for box in boxes],
        "category": question.category,
        "width": page.scene.width,
        "height": page.scene.height,
    }


def _draft(
    rng: np.random.Generator, split: Split, index: int, content: Content
) -> tuple[Page, Question]:
    """What is drawn, and what is asked about it."""
    if content == "scenes":
        scene = sample_scene(rng, split)
        return Page(scene, (), ""), (ground if index % 2 == 0 else ask)(rng, scene)
    page = sample_page(rng, split, "read" if content == "scenes_read" else "lookup")
    return page, (read if content == "scenes_read" else look_up)(rng, page)
