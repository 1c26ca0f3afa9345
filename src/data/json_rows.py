"""Objects of json files: a list of them, or one after the other as in jsonl files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]

_SOLID = re.compile(r"\S")

VALUE = "text"
"""The column of a row that is no object, as `datasets` calls it."""


def names_of(file: Path, encoding: str, field: str | None = None) -> list[str]:
    """All names that objects of a file have, in the order of their first use.

    Raises:
        ValueError: the file is no json.
    """
    return list(dict.fromkeys(name for row in read_objects(file, encoding, field) for name in row))


def json_cells(
    file: Path, names: Sequence[str], encoding: str, field: str | None
) -> Iterator[list[str | None]]:
    """The cells of each object as JSON text; None where it has none, or null."""
    for row in read_objects(file, encoding, field):
        cells = (row.get(name) for name in names)
        yield [None if cell is None else json.dumps(cell) for cell in cells]


def read_objects(file: Path, encoding: str, field: str | None = None) -> Iterator[Row]:
    """The objects of a file.

    Args:
        field: the name under which the list of objects is; None = no name.

    Raises:
        ValueError: it is no json, or an object has a name twice.
    """
    with file.open(encoding=encoding) as lines:
        values = _values(lines.read()) if field or _is_document(lines) else _of_lines(lines)
        for value in values:
            for member in _members(value, field):
                yield member if isinstance(member, dict) else {VALUE: member}


def _members(value: Any, field: str | None) -> list[Any]:
    if field is not None:
        if not isinstance(value, dict) or field not in value:
            raise ValueError(f"it has no field {field!r}")
        value = value[field]
    return value if isinstance(value, list) else [value]


def _is_document(lines: Any) -> bool:
    """Whether a file is one value, or values on several lines each; goes back to its start."""
    first = next((line for line in lines if line.strip()), "")
    lines.seek(0)
    if first.lstrip().startswith("["):
        return True
    try:
        _decoder().decode(first or "{}")
    except json.JSONDecodeError:
        return True
    return False


def _of_lines(lines: Any) -> Iterator[Any]:
    decoder = _decoder()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            yield decoder.decode(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"line {number}: {error}") from None


def _values(text: str) -> Iterator[Any]:
    """The values of a text, one after the other."""
    decoder, place = _decoder(), 0
    while (start := _SOLID.search(text, place)) is not None:
        try:
            value, place = decoder.raw_decode(text, start.start())
        except RecursionError:
            raise ValueError("its values are nested too deeply") from None
        yield value


def _decoder() -> json.JSONDecoder:
    return json.JSONDecoder(object_pairs_hook=_object)


def _object(pairs: list[tuple[str, Any]]) -> Row:
    """An object whose names differ; `json` itself would keep the last value of a name."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"an object has the name {twice!r} twice")
    return found
