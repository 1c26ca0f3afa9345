"""Writes small tables in the formats that benchmarks are published in."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, Features, Image, List, Value
from PIL import Image as Pillow

Row = dict[str, Any]
CORRUPT = b"corrupt"


def png(width: int = 40, height: int = 40, seed: int = 0) -> bytes:
    """A noisy picture of more than 64 base64 characters."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    file = io.BytesIO()
    Pillow.fromarray(noise).save(file, format="PNG")
    return file.getvalue()


def stored(content: bytes) -> Row:
    """An image cell of a parquet file."""
    return {"bytes": content, "path": None}


def as_base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def write_hub(
    folder: Path,
    tables: Mapping[tuple[str, str], Sequence[Row]],
    features: Mapping[str, Any],
) -> str:
    """A folder in the hub's layout; tables by (config, split). Returns its id, the path."""
    folder.mkdir(parents=True, exist_ok=True)
    files: dict[str, list[str]] = {}
    for (config, split), rows in tables.items():
        name = f"{config}-{split}.parquet"
        columns = {column: [row.get(column) for row in rows] for column in features}
        Dataset.from_dict(columns, features=Features(features)).to_parquet(str(folder / name))
        files.setdefault(config, []).append(f"  - split: {split}\n    path: {name}")
    lines = ["---", "configs:"]
    for config, splits in files.items():
        lines += [f"- config_name: {config}", "  data_files:", *splits]
    (folder / "README.md").write_text("\n".join([*lines, "---", ""]))
    return str(folder)


def write_json(file: Path, rows: Sequence[Row]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(list(rows)))


def write_table(file: Path, rows: Sequence[Row], separator: str = "\t") -> None:
    """A csv or tsv file; None is an empty cell."""
    with file.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.DictWriter(lines, list(rows[0]), delimiter=separator, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def write_video(
    file: Path, frames: int = 12, rate: int = 4, size: tuple[int, int] = (64, 48)
) -> None:
    """A video whose frame i is grey of brightness 20 * i."""
    import av

    file.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(file), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        for i in range(frames):
            pixels = np.full((size[1], size[0], 3), 20 * i, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))


TEXT, NUMBER, IMAGE = Value("string"), Value("int64"), Image()
TEXTS, IMAGES, NUMBERS = List(TEXT), List(IMAGE), List(Value("float64"))
