"""Tables in text files, read to the letter: csv and tsv, whose cells are text, and json.

The readers of `datasets` guess: a csv row with a cell too many moves all columns by one, texts of
a json file that look like dates become times, and whole numbers beside others become floats.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Dataset, Features, Value

from .cells import stamp_of
from .delimited import header_of, read_lines
from .json_rows import json_cells, names_of

SEPARATORS = {"csv": ",", "tsv": "\t"}
"""What stands between cells, by file name ending."""

READER_VERSION = 1
"""Part of the key of what `datasets` caches: raise it when the same file gives another table."""

CHUNK = 64
"""Rows that are written at once: a cell may hold an image of a megabyte."""

BYTE_ORDER = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""How a file begins that says its own encoding."""


def encoding_of(file: Path) -> str:
    """The encoding of a text file by its byte order mark; UTF-8 without one."""
    with file.open("rb") as content:
        start = content.read(max(map(len, BYTE_ORDER)))
    return next((name for mark, name in BYTE_ORDER.items() if start.startswith(mark)), "utf-8")


def delimited_table(file: Path, separator: str, cache_dir: Path) -> Dataset:
    """The table of a csv or tsv file; every cell is text, one that its row lacks is None.

    Raises:
        DatasetGenerationError: caused by what is wrong with the file.
        ValueError: its header names no column, or one twice.
    """
    encoding = encoding_of(file)
    names = header_of(file, separator, encoding)
    if not names:
        return Dataset.from_dict({})
    return _stored(read_lines, names, cache_dir, file, separator=separator, encoding=encoding)


def json_table(file: Path, cache_dir: Path, field: str | None = None) -> Dataset:
    """The table of a file of json objects, one a line or in a list; every cell is JSON text.

    Args:
        field: the name under which the list is; None = the file is the list.

    Raises:
        DatasetGenerationError, ValueError: something is wrong with the file.
    """
    encoding = encoding_of(file)
    names = names_of(file, encoding, field)
    if not names:
        return Dataset.from_dict({})
    return _as_json(_stored(json_cells, names, cache_dir, file, encoding=encoding, field=field))


def _stored(
    read: Any, names: Sequence[str], cache_dir: Path, file: Path, **options: str | None
) -> Dataset:
    """What `read` yields, as a table on the disk."""
    if next(read(file, names, **options), None) is None:
        return Dataset.from_dict({name: [] for name in names})
    key = {"names": tuple(names), "stamp": stamp_of(file), "version": READER_VERSION}
    return Dataset.from_generator(
        _rows,
        features=Features({name: Value("large_string") for name in names}),
        cache_dir=str(cache_dir),
        gen_kwargs={"read": read, "file": file, "options": options, "key": key},
        writer_batch_size=CHUNK,
    )


def _rows(read: Any, file: Path, options: dict[str, Any], key: dict[str, Any]) -> Iterator[Any]:
    for cells in read(file, key["names"], **options):
        yield dict(zip(key["names"], cells, strict=True))


def _as_json(table: Dataset) -> Dataset:
    """The same table, whose text is known as JSON by its type."""
    kind = pa.json_(pa.large_string())
    columns = [
        pa.chunked_array(
            [pa.ExtensionArray.from_storage(kind, chunk) for chunk in column.chunks], type=kind
        )
        for column in table.data.columns
    ]
    typed = pa.Table.from_arrays(columns, names=table.column_names)
    return Dataset(typed, fingerprint=f"{table._fingerprint}-json")
