"""The same few samples under every policy."""

from __future__ import annotations

import base64
import io
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest

from PIL import Image

from ..runs.read import Row
from . import formats
from .comparison import Comparison, Entry
from .overlay import draw_overlay


@dataclass(frozen=True)
class Tile:
    """What one policy made of one sample; `image`, a data URI, shows what its last stage left."""

    policy: str
    prediction: str
    correct: bool
    kept: str
    image: str


@dataclass(frozen=True)
class Exhibit:
    """One sample under every policy."""

    sample_id: str
    task: str
    question: str
    target: str
    tiles: tuple[Tile, ...]


def draw_gallery(comparison: Comparison, count: int) -> list[Exhibit]:
    """`count` samples that every run has token maps of, in dataset order and task by task.

    Nothing else decides which samples are shown: no policy is flattered.
    """
    samples = [{row["sample_id"]: row for row in e.run.samples()} for e in comparison.entries]
    maps = [entry.run.token_maps() for entry in comparison.entries]
    shared = [
        key
        for key in maps[0]
        if all(key in m and key in s for m, s in zip(maps, samples, strict=True))
    ]
    exhibits = []
    for key in _by_task([samples[0][key] for key in shared])[:count]:
        tiles = [
            _tile(entry, rows[key], entries[key])
            for entry, rows, entries in zip(comparison.entries, samples, maps, strict=True)
        ]
        row = samples[0][key]
        exhibits.append(Exhibit(key, row["task"], row["question"], row["target"], tuple(tiles)))
    return exhibits


def _by_task(rows: Sequence[Row]) -> list[str]:
    """Sample ids, one of each task in turn."""
    by_task: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        by_task[row["task"]].append(row["sample_id"])
    turns: Iterable[str | None] = chain.from_iterable(zip_longest(*by_task.values()))
    return [key for key in turns if key is not None]


def _tile(entry: Entry, row: Row, tokens: Row) -> Tile:
    with Image.open(entry.run.folder / tokens["image_file"]) as image:
        overlay = draw_overlay(image, tokens)
    return Tile(
        policy=entry.label,
        prediction=row["prediction"],
        correct=bool(row["score"]),
        kept=formats.kept(row),
        image=_data_uri(overlay),
    )


def _data_uri(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=88, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
