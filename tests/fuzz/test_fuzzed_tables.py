"""Whatever a table holds: a sample, an error row or a refusal, and never Python's notation.

CI draws 1,250 examples; `HYPOTHESIS_PROFILE=long pytest -n0 tests/fuzz/test_fuzzed_tables.py`
52,500 of the same strategies.
"""

from __future__ import annotations

import csv
import io
import json
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from datasets import Dataset
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image
from table_cells import (
    BOXES,
    CELLS,
    JSON_CELLS,
    TEXTS,
    encoded,
    notations,
    pictures,
    texts_in,
)

from fuzzing import examples
from ivcprune.data.boxes import BOX_FORMATS, to_boxes
from ivcprune.data.conversion import Converter
from ivcprune.data.decoding import rows_of
from ivcprune.data.delimited import header_of, read_lines
from ivcprune.data.files import FileSource
from ivcprune.data.image_cells import images_in
from ivcprune.data.json_rows import json_cells, names_of
from ivcprune.data.pictures import image_size, open_picture, to_rgb
from ivcprune.data.sample import FEATURES
from ivcprune.data.text_files import encoding_of

Row = dict[str, Any]

ROLES = ("id", "group", "image", "question", "answer", "choices", "hint", "category", "box")
TASKS = ("vqa", "multiple_choice", "yes_no", "grounding", "vqa_score", "open_answer")
FORMATS = ("text", "verbatim", "listed", "index", "choice", "zero_one")


def attempt(function: Callable[..., Any], *arguments: Any) -> tuple[Any, str]:
    """What a function returns, or why it refuses; any other exception is a fault."""
    try:
        return function(*arguments), ""
    except ValueError as refusal:
        return None, str(refusal)


def check_samples(converted: Row, cells: Row) -> None:
    """Rows are samples or errors that say where; no text is Python's notation of a cell."""
    samples = Dataset.from_dict(converted, features=FEATURES).with_format("arrow")[:].to_pylist()
    written = {text for cell in cells.values() for text in notations(cell)}
    own = {text.strip() for cell in cells.values() for text in texts_in(cell)}
    for sample in samples:
        assert not sample["error"] or sample["error"].startswith("row 0: ")
        texts = [sample[name] for name in ("id", "group_id", "question", "hint", "category")]
        texts += sample["answers"] + sample["choices"]
        for text in texts:
            assert text not in written or any(text in mine for mine in own), (text, cells)
        json.loads(sample["metadata"] or "{}")
        if not sample["error"]:
            assert sample["question"].strip()
            scored_by = sample["boxes"] if sample["task"] == "grounding" else sample["answers"]
            assert scored_by or sample["task"] == "open_answer"


@examples(450)
@given(
    cells=st.fixed_dictionaries(dict.fromkeys(ROLES, CELLS) | {"box": BOXES}),
    roles=st.sets(st.sampled_from(ROLES)),
    task=st.sampled_from(TASKS),
    answer_format=st.sampled_from(FORMATS),
    box_format=st.sampled_from(sorted(BOX_FORMATS)),
)
def test_any_cells_of_a_typed_table(
    cells: Row, roles: set[str], task: str, answer_format: str, box_format: str
) -> None:
    try:
        table = pa.Table.from_pylist([cells])
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        table = None
    assume(table is not None)
    assert table is not None
    source = FileSource(
        name="mine", task=task, path="t.parquet", answer_format=answer_format,
        box_format=box_format, metadata={"hint": "hint"},
        columns={role: role for role in ROLES if role in roles | {"question", "answer"}},
    )  # fmt: skip
    reader = source.image_reader(Dataset.from_list([{"a": 1}]))
    check_samples(Converter(source, reader).samples_of_batch(table, [0]), rows_of(table)[0])


@examples(150)
@given(
    rows=st.lists(
        st.fixed_dictionaries(dict.fromkeys(("question", "answer"), JSON_CELLS)), min_size=1,
        max_size=4,
    ),
    lines=st.booleans(),
    mark=st.sampled_from(["", "\ufeff"]),
)  # fmt: skip
def test_any_cells_of_a_json_file(rows: list[Row], lines: bool, mark: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "t.json"
        text = "\n".join(map(json.dumps, rows)) if lines else json.dumps(rows)
        file.write_text(mark + text, encoding="utf-8")
        encoding = encoding_of(file)
        names = names_of(file, encoding)
        cells = list(json_cells(file, names, encoding, None))
    table = pa.table({n: pa.array(column, pa.json_()) for n, *column in zip(names, *cells)})  # noqa: B905
    read = rows_of(table)
    assert list(map(comparable, read)) == list(map(comparable, rows))
    source = FileSource(
        name="mine", task="vqa", path="t.json", columns={"question": "question", "answer": "answer"}
    )
    reader = source.image_reader(Dataset.from_list([{"a": 1}]))
    for i, row in enumerate(read):
        one = table.slice(i, 1)
        check_samples(Converter(source, reader).samples_of_batch(one, [0]), row)


def comparable(cell: Any) -> Any:
    """A cell whose values that are not equal to themselves are."""
    return json.loads(json.dumps(cell), parse_constant=str)


@examples(150)
@given(
    rows=st.lists(st.lists(TEXTS, min_size=3, max_size=3), min_size=1, max_size=4),
    separator=st.sampled_from([",", "\t"]),
    ending=st.sampled_from(["\n", "\r\n"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    index=st.booleans(),
    cut=st.integers(-2, 2),
)
def test_any_lines_of_a_csv(
    rows: list[list[str]],
    separator: str,
    ending: str,
    quoting: Any,
    encoding: str,
    index: bool,
    cut: int,
) -> None:
    """What is written is read; a row of another length is refused or has missing cells."""
    if ending == "\n" and any("\r" in cell for row in rows for cell in row):
        quoting = csv.QUOTE_ALL  # csv.writer itself leaves this one without quotation marks
    header = ["" if index else "n", "q", "a"]
    changed = [list(row) for row in rows]
    changed[-1] = changed[-1][:cut] if cut < 0 else changed[-1] + ["x"] * cut
    assume(any(cell.strip() for cell in changed[-1]) or len(changed[-1]) > 1)
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=separator, lineterminator=ending, quoting=quoting)
    writer.writerows([header, *changed])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "t.csv"
        file.write_bytes(text.getvalue().encode(encoding))
        names = header_of(file, separator, encoding_of(file))
        assert names == ["Unnamed: 0" if index else "n", "q", "a"]
        if cut > 0:
            with pytest.raises(ValueError, match=r"line \d+ has \d cells where the header names 3"):
                list(read_lines(file, names, separator, encoding_of(file)))
            return
        read = list(read_lines(file, names, separator, encoding_of(file)))
    missing: list[str | None] = [None] * -cut
    assert read == [*rows[:-1], rows[-1][: 3 + cut] + missing]


@examples(100)
@given(content=st.one_of(st.binary(max_size=60), st.text('nqa,"\n\r\t1', max_size=40)))
def test_any_bytes_of_a_csv(content: bytes | str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "t.csv"
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        read, refused = attempt(names_and_rows, file)
    assert (read is None) == bool(refused)
    names, rows = read or ([], [])
    assert len(names) == len(set(names))
    assert all(len(row) == len(names) for row in rows)


def names_and_rows(file: Path) -> tuple[list[str], list[list[str | None]]]:
    names = header_of(file, ",", encoding_of(file))
    return names, list(read_lines(file, names, ",", encoding_of(file)))


@examples(100)
@given(cell=CELLS)
def test_any_image_cell(cell: Any) -> None:
    images, refused = attempt(images_in, cell, None)
    assert (images is None) == bool(refused)
    assert len(refused) < 300
    for image in images or []:
        assert set(image) == {"bytes", "path"}
        assert isinstance(image["bytes"], bytes) or image["path"]


@examples(200)
@given(
    picture=pictures(),
    kind=st.sampled_from(["PNG", "TIFF", "WEBP", "JPEG", "GIF", "BMP"]),
    orientation=st.integers(0, 9),
)
def test_any_picture(picture: Image.Image, kind: str, orientation: int) -> None:
    check_picture(picture)
    content = encoded(picture, kind, orientation)
    if content is None:
        return
    image = {"bytes": content, "path": None}
    assert open_picture(image).size == image_size(image)


def check_picture(picture: Image.Image) -> None:
    """In RGB, what is clear is white; deep grey is in the order of its values, or refused."""
    values = np.asarray(picture)
    deep = picture.mode == "F" or picture.mode.startswith("I")
    if deep and not np.isfinite(values).all():
        with pytest.raises(ValueError, match="no number"):
            to_rgb(picture)
        return
    seen = np.asarray(to_rgb(picture))
    assert seen.shape == (picture.height, picture.width, 3)
    if picture.mode in ("RGBA", "LA"):
        assert (seen[values[..., -1] == 0] == 255).all()
    if deep:
        order = np.argsort(values, axis=None, kind="stable")
        assert (np.diff(seen[..., 0].ravel()[order].astype(int)) >= 0).all()


@examples(100)
@given(
    cell=BOXES,
    box_format=st.sampled_from(sorted(BOX_FORMATS)),
    size=st.sampled_from([(0, 0), (40, 30), (1000, 500)]),
)
def test_any_box(cell: Any, box_format: str, size: tuple[int, int]) -> None:
    boxes, refused = attempt(to_boxes, cell, box_format, size)
    assert boxes is not None or refused.startswith("the box ")
    for x1, y1, x2, y2 in boxes or []:
        assert all(map(math.isfinite, (x1, y1, x2, y2)))
        assert x1 <= x2
        assert y1 <= y2
        if 0 not in size:
            over = [max(2.0, 0.02 * side) for side in size]
            assert -over[0] <= x1 <= x2 <= size[0] + over[0]
            assert -over[1] <= y1 <= y2 <= size[1] + over[1]
