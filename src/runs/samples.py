"""Rows of samples: appended while a run goes on, read back when it is resumed, then one table."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from .fields import typed
from .schema import SampleRow
from .storage import replacing, writing

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")

SCHEMA = pa.schema(
    {
        "sample_id": pa.string(),
        "task": pa.string(),
        "category": pa.string(),
        "question": pa.string(),
        "prediction": pa.string(),
        "parsed": pa.string(),
        "target": pa.string(),
        "score": pa.float64(),
        "n_visual": pa.int64(),
        "n_kept": pa.int64(),
        "kept_by_stage": pa.string(),
        "average_tokens": pa.float64(),
        "kv_bytes": pa.int64(),
        "settled": pa.bool_(),
        "published_parsed": pa.string(),
        "published_score": pa.float64(),
        "published_settled": pa.bool_(),
        "judge": pa.string(),
        "error": pa.string(),
        "rank": pa.int32(),
        "asked": pa.string(),
    }
)
"""Columns of `samples.parquet`."""

TABLE = "samples.parquet"
COMPARED = ("sample_id", "task", "score")
"""Columns that every version wrote, and no report can do without."""


class SampleLog:
    """Appends rows to a file such that a killed process loses at most the batch it was at.

    A torn last line, which such a process may leave, is removed first: its sample is computed
    again.

    Raises:
        StorageError: the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            _remove_torn_line(path)
            # Unbuffered: what could not be written must not be tried again when the file is closed.
            self._file = path.open("ab", buffering=0)

    def append(self, rows: Sequence[DataclassInstance]) -> None:
        """Returns when the rows are on the disk; all of them, or after an error none.

        Raises:
            StorageError: the disk is full, for example.
        """
        size = os.fstat(self._file.fileno()).st_size
        with writing(self._path):
            try:
                self._write("".join(json.dumps(asdict(row)) + "\n" for row in rows).encode())
                os.fsync(self._file.fileno())
            except BaseException:
                os.ftruncate(self._file.fileno(), size)
                raise

    def _write(self, content: bytes) -> None:
        """A disk that is nearly full takes a part, and only refuses the next one."""
        while content:
            content = content[self._file.write(content) :]

    def close(self) -> None:
        self._file.close()


def read_rows(paths: Iterable[Path], asked: Mapping[str, str] | None = None) -> list[SampleRow]:
    """All complete rows, of each sample the one that counts: success before failure, then the last.

    Args:
        asked: of samples that were edited in the meantime, by id, what they ask now: answers to
            what they asked before do not count.

    Raises:
        ValueError: a line in the middle of a file is damaged, or a sample succeeded twice.
    """
    rows: dict[str, SampleRow] = {}
    for row in _complete_rows(paths):
        now = (asked or {}).get(row.sample_id)
        is_of_before = row.error is None and now is not None and row.asked != now
        known = rows.get(row.sample_id)
        counts = known is None or known.error is not None or row.error is None
        if counts and not is_of_before:
            rows[row.sample_id] = row
    return list(rows.values())


def _complete_rows(paths: Iterable[Path]) -> Iterator[SampleRow]:
    seen: set[tuple[str, str]] = set()
    for path in paths:
        for row in read_lines(path, SampleRow):
            if row.error is None and (row.sample_id, row.asked) in seen:
                raise ValueError(
                    f"{path} has sample {row.sample_id!r}, which was finished before: two "
                    "processes wrote to this run; delete its folder and run the command again"
                )
            if row.error is None:
                seen.add((row.sample_id, row.asked))
            yield row


def answered(paths: Iterable[Path]) -> dict[str, frozenset[str]]:
    """By id of the samples that need not be computed again, unless edited: what they asked.

    Failed samples are not among them.
    """
    found: dict[str, frozenset[str]] = {}
    for row in _complete_rows(paths):
        if row.error is None:
            found[row.sample_id] = found.get(row.sample_id, frozenset()) | {row.asked}
    return found


def finished_ids(paths: Iterable[Path]) -> frozenset[str]:
    """The samples that were answered, whether or not they were edited since."""
    return frozenset(answered(paths))


def merge(rows: Iterable[SampleRow], ids: Sequence[str]) -> list[SampleRow]:
    """One row for each of `ids`, in their order.

    Raises:
        RuntimeError: a sample has no row.
    """
    by_id = {row.sample_id: row for row in rows}
    if missing := [sample_id for sample_id in ids if sample_id not in by_id]:
        raise RuntimeError(
            f"{len(missing)} of {len(ids)} samples have no row, the first is {missing[0]!r}: a "
            "process of this run ended before its samples did"
        )
    return [by_id[sample_id] for sample_id in ids]


def write_table(folder: Path, rows: Sequence[SampleRow]) -> None:
    """`samples.parquet`."""
    table = pa.Table.from_pylist([asdict(row) for row in rows], schema=SCHEMA)
    with replacing(folder / TABLE) as draft:
        pq.write_table(table, draft)


def read_table(folder: Path) -> list[dict[str, Any]]:
    """All rows of `samples.parquet`, by column; older runs lack some of the columns.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such table, or has not the columns that every version wrote.
    """
    path = folder / TABLE
    try:
        table = pq.read_table(path)
    except pa.ArrowInvalid as error:
        raise ValueError(
            f"{path} is damaged ({error}): run the command of the run again"
        ) from error
    if missing := [name for name in COMPARED if name not in table.column_names]:
        raise ValueError(f"{path} has no column {missing[0]!r}: it is no table of a run's samples")
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def read_lines(path: Path, kind: type[T]) -> list[T]:
    """The complete lines of a `SampleLog`.

    Args:
        kind: the dataclass of its rows.

    Raises:
        ValueError: a line is damaged.
    """
    complete, _, _ = path.read_bytes().rpartition(b"\n")
    rows = []
    for number, line in enumerate(complete.splitlines(), start=1):
        try:
            rows.append(typed(kind, json.loads(line)))
        except ValueError as error:
            raise ValueError(
                f"{path}, line {number} is damaged ({error}): delete the line and run the command "
                "again, which computes its sample anew"
            ) from error
    return rows


def _remove_torn_line(path: Path) -> None:
    if path.exists():
        complete, newline, _ = path.read_bytes().rpartition(b"\n")
        os.truncate(path, len(complete) + len(newline))
