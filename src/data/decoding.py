"""From a batch of an Arrow table to rows of plain cells, which say what their author wrote."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa

Reader = Callable[[Any], Any]
"""From a cell as `pyarrow` gives it to one that is meant; None stays None."""


def rows_of(batch: pa.Table) -> list[dict[str, Any]]:
    """The rows of `batch`, by column.

    JSON cells, which `datasets` makes of columns of mixed types, are decoded, and narrow floats
    keep their own digits: 0.3, not the 0.30000001192092896 of a double.
    """
    readers = {
        name: reader
        for name, kind in zip(batch.column_names, batch.schema.types, strict=True)
        if (reader := _reader(kind)) is not None
    }
    rows: list[dict[str, Any]] = batch.to_pylist()
    for row in rows:
        for name, read in readers.items():
            row[name] = _read(read, row[name])
    return rows


def _read(reader: Reader, cell: Any) -> Any:
    return None if cell is None else reader(cell)


def _reader(kind: pa.DataType) -> Reader | None:
    """What cells of an Arrow type must still go through; None for nothing."""
    if isinstance(kind, pa.JsonType):
        return _of_json
    if pa.types.is_float16(kind) or pa.types.is_float32(kind):
        narrow = kind.to_pandas_dtype()
        return lambda number: float(str(narrow(number)))
    if isinstance(kind, pa.BaseExtensionType):
        return _reader(kind.storage_type)
    if pa.types.is_struct(kind):
        return _of_struct({field.name: _reader(field.type) for field in kind})
    if hasattr(kind, "value_type") and not pa.types.is_map(kind):
        return _of_list(_reader(kind.value_type), pa.types.is_dictionary(kind))
    return None


def _of_json(text: str) -> Any:
    """The value of a JSON cell.

    `datasets` stores a text of a mixed column undressed where it happens to be JSON: 1.50, 007,
    null. A number that no JSON writer would write so was a text, as was a null.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return text if value is None or (is_number and json.dumps(value) != text) else value


def _of_struct(readers: Mapping[str, Reader | None]) -> Reader | None:
    known = {name: reader for name, reader in readers.items() if reader is not None}
    if not known:
        return None

    def read(cell: dict[str, Any]) -> dict[str, Any]:
        return cell | {name: _read(reader, cell[name]) for name, reader in known.items()}

    return read


def _of_list(reader: Reader | None, single: bool) -> Reader | None:
    if reader is None or single:
        return reader
    return lambda cell: [_read(reader, member) for member in cell]
