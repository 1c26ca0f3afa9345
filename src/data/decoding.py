"""From a batch of an Arrow table to rows of plain cells, which say what their author wrote."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa

from ..checks import one_line
from .texts import Unreadable, as_text

Reader = Callable[[Any], Any]
"""From a cell as `pyarrow` gives it to one that is meant; None stays None."""


def rows_of(batch: pa.Table) -> list[dict[str, Any]]:
    """The rows of `batch`, by column.

    JSON cells, which `datasets` makes of columns of mixed types, are decoded, and narrow floats
    keep their own digits: 0.3, not the 0.30000001192092896 of a double. Maps are structs.
    """
    columns = dict(zip(batch.column_names, map(_cells, batch.columns), strict=True))
    return [{name: cells[i] for name, cells in columns.items()} for i in range(batch.num_rows)]


def _cells(column: pa.ChunkedArray) -> list[Any]:
    try:
        cells = column.to_pylist()
    # One cell of the column has no value in Python; Arrow says so in many ways.
    except Exception:
        cells = [_cell(scalar) for scalar in column]
    reader = _reader(column.type)
    return cells if reader is None else [_read(reader, cell) for cell in cells]


def _cell(scalar: pa.Scalar) -> Any:
    try:
        return scalar.as_py()
    except Exception as error:
        return Unreadable(one_line(error))


def _read(reader: Reader, cell: Any) -> Any:
    return cell if cell is None or isinstance(cell, Unreadable) else reader(cell)


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
    if pa.types.is_map(kind):
        return _of_map(_reader(kind.item_type))
    if hasattr(kind, "value_type"):
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


def _of_map(reader: Reader | None) -> Reader:
    """A map as a struct; its pairs where two have the same name, as a struct cannot."""

    def read(pairs: list[tuple[Any, Any]]) -> Any:
        entries = [(as_text(key), _read(reader, item) if reader else item) for key, item in pairs]
        found = dict(entries)
        return found if len(found) == len(entries) else [list(entry) for entry in entries]

    return read


def _of_list(reader: Reader | None, single: bool) -> Reader | None:
    if reader is None or single:
        return reader
    return lambda cell: [_read(reader, member) for member in cell]
