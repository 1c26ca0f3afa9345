"""Images in cells: paths, data URIs, base64, bytes, structs; the same in every source."""

from __future__ import annotations

import ast
import base64
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ivcprune.data.batch import decode
from ivcprune.data.files import FileSource, TsvSource
from ivcprune.data.hub import HubSource
from ivcprune.data.image_cells import images_in
from ivcprune.data.tables import TableSource
from source_formats import as_base64, png

PICTURE = png(30, 20)
PLAIN = as_base64(PICTURE)
URI = f"data:image/png;base64,{PLAIN}"
URL_SAFE = base64.urlsafe_b64encode(PICTURE).decode().rstrip("=")
WRAPPED = "\n".join(PLAIN[i : i + 76] for i in range(0, len(PLAIN), 76))
TINY = "R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"  # a gif of one pixel

TEXTS = {"uri": URI, "plain": PLAIN, "safe": URL_SAFE, "wrapped": WRAPPED,
         "listed": f"['{PLAIN}']"}  # fmt: skip
OTHERS: dict[str, Any] = {
    "bytes": PICTURE,
    "text in bytes": PLAIN.encode(),
    "uri in bytes": URI.encode(),
    "struct": {"bytes": PICTURE, "path": "a.png"},
    "struct of text": {"bytes": PLAIN, "path": None},
    "struct of uri": {"bytes": None, "path": URI},
    "list": [PICTURE],
    "list of structs": [{"bytes": PICTURE, "path": None}],
}
COLUMNS = {"image": "image", "question": "q", "answer": "a"}


def content_of(cell: Any) -> bytes:
    ((content, _),) = [image.values() for image in images_in(cell, None)]
    return bytes(content)


@pytest.mark.parametrize("cell", [*TEXTS.values(), *OTHERS.values()])
def test_every_way_to_write_an_image(cell: Any) -> None:
    assert content_of(cell) == PICTURE


def test_what_a_csv_makes_of_bytes_and_structs_is_read() -> None:
    """`DataFrame.to_csv` writes Python's notation of them."""
    for cell in (PICTURE, {"bytes": PICTURE, "path": None}, [PICTURE]):
        assert ast.literal_eval(str(cell)) == cell
        assert content_of(str(cell)) == PICTURE
    with pytest.raises(ValueError, match="cut off or damaged"):
        images_in(str(PICTURE)[:200], None)


def test_a_short_text_is_an_image_only_if_it_is_one() -> None:
    assert content_of(TINY)[:3] == b"GIF"
    for name in ("cat", "abcd", "images/train/abcdefgh", "a.png", "[1] a.png"):
        assert images_in(name, "/f") == [{"bytes": None, "path": f"/f/{name}"}]
    assert images_in("/abs/a.png", "/f") == [{"bytes": None, "path": "/abs/a.png"}]
    assert images_in({"bytes": None, "path": "a.png"}, "/f") == [
        {"bytes": None, "path": "/f/a.png"}
    ]
    assert images_in("['a.png', 'b.png']", "/f") == [
        {"bytes": None, "path": "/f/a.png"}, {"bytes": None, "path": "/f/b.png"}
    ]  # fmt: skip


@pytest.mark.parametrize("cell", [None, "", float("nan"), [], {"bytes": None, "path": None}])
def test_a_missing_image_is_none(cell: Any) -> None:
    assert images_in(cell, "/f") == []


@pytest.mark.parametrize(
    ("cell", "why"),
    [
        ({"url": "x"}, "neither `bytes` nor `path`"),
        ({"bytes": "no base64!", "path": None}, "are no base64"),
        ({"bytes": 7, "path": None}, "the bytes of the image 7 are none"),
        ("data:image/svg+xml,%3Csvg", "an address without base64"),
        ("no base64! " * 200, "neither base64 nor a path"),
        ([[0, 255], [255, 0]], "is a list, where a text"),
        (1.5e300, "lost its last digits"),
    ],
)
def test_what_is_no_image_is_refused_in_few_words(cell: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why) as raised:
        images_in(cell, None)
    assert len(str(raised.value)) < 200


def write(folder: Path, ending: str, cell: Any) -> TableSource:
    table = {"index": ["1"], "image": [cell], "q": ["which?"], "a": ["red"]}
    file = folder / f"t.{ending}"
    if ending == "parquet":
        pq.write_table(pa.table(table), file)
    elif ending in ("csv", "tsv"):
        pd.DataFrame(table).to_csv(file, sep="," if ending == "csv" else "\t", index=False)
    else:
        file.write_text(json.dumps([{name: cells[0] for name, cells in table.items()}]))
    options: dict[str, Any] = {"name": "mine", "task": "vqa", "columns": COLUMNS}
    if ending == "tsv":
        return TsvSource(path=str(file), **options)
    return FileSource(path=str(file), **options)


def seen(source: TableSource, folder: Path) -> list[tuple[int, int]]:
    (row,) = source.load(folder / "cache").with_format("arrow")[:].to_pylist()
    assert (row["error"], row["width"], row["height"]) == ("", 30, 20)
    return [image.size for image in decode(row).images]


@pytest.mark.parametrize("ending", ["csv", "tsv", "json", "jsonl", "parquet"])
@pytest.mark.parametrize("written", TEXTS)
def test_images_as_text_are_read_in_every_source(ending: str, written: str, tmp_path: Path) -> None:
    if ending == "jsonl":
        source = write(tmp_path, "json", TEXTS[written])
        (tmp_path / "t.json").rename(tmp_path / "t.jsonl")
        source = FileSource(name="mine", task="vqa", columns=COLUMNS,
                            path=str(tmp_path / "t.jsonl"))  # fmt: skip
    else:
        source = write(tmp_path, ending, TEXTS[written])
    assert seen(source, tmp_path) == [(30, 20)]


@pytest.mark.parametrize("written", OTHERS)
def test_images_as_bytes_are_read(written: str, tmp_path: Path) -> None:
    source = write(tmp_path, "parquet", OTHERS[written])
    assert seen(source, tmp_path) == [(30, 20)]
    (tmp_path / "hub").mkdir()
    (tmp_path / "t.parquet").rename(tmp_path / "hub/test.parquet")
    hub = HubSource(name="mine", task="vqa", columns=COLUMNS, split="test",
                    hub_ids=[str(tmp_path / "hub")])  # fmt: skip
    assert seen(hub, tmp_path) == [(30, 20)]


def test_a_table_of_base64_images_may_name_files_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PICTURE)
    (tmp_path / "t.tsv").write_text("index\timage\tq\ta\n1\ta.png\twhich?\tred\n")
    source = TsvSource(name="mine", task="vqa", columns=COLUMNS, path=str(tmp_path / "t.tsv"),
                       image_folder=str(tmp_path))  # fmt: skip
    assert seen(source, tmp_path) == [(30, 20)]
