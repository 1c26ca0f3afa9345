"""A small benchmark of ragged images, and the run that all disturbed runs are compared with."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from PIL import Image

from ivcprune.configuration.build import compose
from ivcprune.data.scenes.dataset import make_row
from ivcprune.jobs import predict
from ivcprune.runs.directory import RunDirectory
from ivcprune.runs.samples import finished_ids, read_rows
from ivcprune.runs.schema import SampleRow

SIDES = (56, 84, 112, 140, 168, 224)
"""Pixels; widths and heights that images are given in turn."""

CONFIG = """# Scenes in images of many sizes
defaults:
  - source/file@_here_
  - _self_

name: ragged
task: vqa
path: {folder}/samples.jsonl
image_folder: {folder}/images
columns: {{id: id, task: task, image: image, question: question, answer: answer, box: box}}
"""

BATCH_SIZE = 3

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Workload:
    """`size` samples under `folder`; a number that ranks and batches do not divide is the harder.

    Attributes:
        folder: of the benchmark, its cache, and the output of runs.
    """

    folder: Path
    size: int

    def write(self) -> None:
        """Draws the images and writes the table and its configuration."""
        (self.folder / "images").mkdir(parents=True)
        lines = [json.dumps(self._write_sample(index)) for index in range(self.size)]
        (self.folder / "samples.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        config = self.folder / "conf" / "data" / "ragged.yaml"
        config.parent.mkdir(parents=True)
        config.write_text(CONFIG.format(folder=self.folder), encoding="utf-8")

    def overrides(self, output_dir: Path, *more: str) -> list[str]:
        """The command line of a run under `output_dir`."""
        return [
            f"hydra.searchpath=[file://{self.folder / 'conf'}]",
            "data=ragged",
            f"paths.output_dir={output_dir}",
            f"paths.cache_dir={self.folder / 'cache'}",
            f"batch_size={BATCH_SIZE}",
            "threads=1",
            "model.max_new_tokens=4",
            "overlays=0",
            "trainer=cpu",
            *more,
        ]

    @contextmanager
    def spoiled(self, index: int) -> Iterator[str]:
        """Within, the image of a sample is no image; yields the sample's id."""
        path = self.folder / "images" / f"{index}.png"
        intact = path.read_bytes()
        try:
            path.write_bytes(b"no image")
            self.forget()
            yield f"sample-{index}"
        finally:
            path.write_bytes(intact)
            self.forget()

    def forget(self) -> None:
        """Removes what the benchmark was converted to, so that it is read again."""
        shutil.rmtree(self.folder / "cache", ignore_errors=True)

    def _write_sample(self, index: int) -> Row:
        row = make_row("test", index, 0)
        size = (SIDES[index % len(SIDES)], SIDES[(index * index + 1) % len(SIDES)])
        image = Image.open(io.BytesIO(row["images"][0]["bytes"])).resize(size)
        image.save(self.folder / "images" / f"{index}.png")
        scale = [
            side / before for side, before in zip(size, (row["width"], row["height"]), strict=True)
        ]
        boxes = [
            [round(c * s, 2) for c, s in zip(box, scale * 2, strict=True)] for box in row["boxes"]
        ]
        return {
            "id": f"sample-{index}",
            "task": row["task"],
            "image": f"{index}.png",
            "question": row["question"],
            "answer": row["answers"][0] if row["answers"] else None,
            "box": boxes[0] if boxes else None,
        }


@dataclass(frozen=True, slots=True)
class Attempt:
    """A run of the workload in a folder of its own, started as often as it takes.

    Attributes:
        output_dir: `paths.output_dir`.
    """

    workload: Workload
    output_dir: Path

    def start(self, *more: str) -> None:
        """Runs it in this process, until it is finished or something stops it."""
        predict.run(compose(self.workload.overrides(self.output_dir, *more)))

    @property
    def run_dir(self) -> RunDirectory:
        """Of the one run."""
        (folder,) = (path.parent for path in self.output_dir.glob("default/*/samples"))
        return RunDirectory(folder)

    def rows(self) -> list[SampleRow]:
        """What is on the disk, complete lines only."""
        return read_rows(self.output_dir.glob("default/*/samples/rank*.jsonl"))

    def finished(self) -> frozenset[str]:
        return finished_ids(self.output_dir.glob("default/*/samples/rank*.jsonl"))

    def samples(self) -> list[Row]:
        """The rows of `samples.parquet`, without the rank, which may differ."""
        rows: list[Row] = pq.read_table(self.run_dir.path / "samples.parquet").to_pylist()
        return [{key: value for key, value in row.items() if key != "rank"} for row in rows]
