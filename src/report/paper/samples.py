"""The pictures that the paper shows, as our runs saw them (Tab. 15)."""

from __future__ import annotations

import base64
import io

from PIL import Image

from ...runs.read import Row, Run
from .. import formats
from ..overlay import draw_overlay
from .measured import Measurements
from .page import Picture
from .published import Cell, PublishedSample, PublishedTable

SEPARATOR = " | "
"""Between the accepted answers in `target`."""


def draw_samples(table: PublishedTable, measurements: Measurements) -> list[Picture]:
    """What was kept of each sample of the table that a finished run has an overlay of."""
    pictures = []
    for cell in sorted(table.cells & measurements.runs.keys()):
        run = measurements.runs[cell]
        maps = run.token_maps()
        for published in table.samples:
            row = _find(published, measurements, cell)
            if row is not None and row["sample_id"] in maps:
                pictures.append(_picture(published, row, maps[row["sample_id"]], run))
    return pictures


def _find(published: PublishedSample, measurements: Measurements, cell: Cell) -> Row | None:
    """The sample of that question and answer; the first one where several are alike."""
    for row in measurements.samples(cell):
        answers = [_plain(answer) for answer in row["target"].split(SEPARATOR)]
        if _plain(published.question) in _plain(row["question"]) and (
            _plain(published.answer) in answers
        ):
            return row
    return None


def _plain(words: str) -> str:
    return " ".join(words.lower().split())


def _picture(published: PublishedSample, row: Row, tokens: Row, run: Run) -> Picture:
    with Image.open(run.folder / tokens["image_file"]) as image:
        overlay = draw_overlay(image, tokens, side=max(image.size[0], 360))
    buffer = io.BytesIO()
    overlay.save(buffer, format="JPEG", quality=88, subsampling=0)
    uri = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
    return Picture(
        title=published.question,
        image=uri,
        caption=(
            f"True answer: {published.answer}. Kept: {formats.kept(row)}.",
            f"Measured: {_mark(bool(row['score']))} {row['prediction']}",
            f"Published: {_mark(published.correct)} {published.prediction}",
        ),
    )


def _mark(correct: bool) -> str:
    return "✓" if correct else "✗"
