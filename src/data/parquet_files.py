"""Tables in parquet files; in those with maps, which `datasets` has no type for, as JSON."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, load_dataset

from .cells import stamp_of
from .decoding import rows_of
from .plain import plain

CHUNK = 64
"""Rows that are converted at once: a cell may hold an image of a megabyte."""

JSON = pa.json_(pa.large_string())


def parquet_table(file: Path, cache_dir: Path) -> Dataset:
    """The table of a parquet file.

    Raises:
        DatasetGenerationError, ValueError, ...: something is wrong with the file.
    """
    about = pq.read_metadata(file)  # says in one line what is wrong, where `datasets` logs pages
    if not about.num_rows:
        return Dataset.from_dict({})
    schema = about.schema.to_arrow_schema()
    maps = [field.name for field in schema if _holds_map(field.type)]
    if not maps:
        options = {"split": "train", "cache_dir": str(cache_dir)}
        return load_dataset("parquet", data_files=str(file), **options)
    key = hashlib.sha256(stamp_of(file).encode()).hexdigest()[:12]
    made = cache_dir / "maps" / f"{file.stem}-{key}.arrow"
    if not made.exists():
        made.parent.mkdir(parents=True, exist_ok=True)
        _write(pq.ParquetFile(file), schema, maps, made)
    return Dataset.from_file(str(made))


def _holds_map(kind: pa.DataType) -> bool:
    if pa.types.is_map(kind):
        return True
    return any(_holds_map(kind.field(i).type) for i in range(kind.num_fields))


def _write(source: pq.ParquetFile, schema: pa.Schema, maps: Iterable[str], made: Path) -> None:
    """The table as Arrow's stream, at once: another process may be at it too."""
    for name in maps:
        schema = schema.set(schema.get_field_index(name), pa.field(name, JSON))
    schema = schema.remove_metadata()
    draft = made.with_suffix(f".{os.getpid()}.draft")
    try:
        with pa.ipc.new_stream(draft, schema) as stream:
            for batch in source.iter_batches(CHUNK):
                table = pa.Table.from_batches([batch])
                for name in maps:
                    place = table.schema.get_field_index(name)
                    table = table.set_column(place, schema.field(name), _as_json(table, name))
                stream.write_table(table)
        draft.replace(made)
    finally:
        draft.unlink(missing_ok=True)


def _as_json(table: pa.Table, name: str) -> pa.Array:
    cells = (row[name] for row in rows_of(table.select([name])))
    texts = [None if cell is None else json.dumps(_plain(cell, name)) for cell in cells]
    return pa.ExtensionArray.from_storage(JSON, pa.array(texts, pa.large_string()))


def _plain(cell: Any, column: str) -> Any:
    """A cell as JSON can hold it; bytes that are no text in base64, as image cells have them."""
    if isinstance(cell, Mapping):
        return {key: _plain(member, column) for key, member in cell.items()}
    if isinstance(cell, list):
        return [_plain(member, column) for member in cell]
    if isinstance(cell, bytes):
        try:
            return cell.decode()
        except UnicodeDecodeError:
            return {"bytes": base64.b64encode(cell).decode()}
    return plain(cell, column)
