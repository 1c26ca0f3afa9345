"""Lines of csv and tsv files, as the csv of RFC 4180 is meant and as pandas and Excel write it."""

from __future__ import annotations

import csv
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

log = logging.getLogger(__name__)


def header_of(file: Path, separator: str, encoding: str) -> list[str]:
    """The names of the columns; one without a name, such as pandas' index, gets pandas' own.

    Returns:
        no names where the file holds nothing.

    Raises:
        ValueError: it names none of its columns, or two have the same name.
    """
    header = next(_records(file, separator, encoding), (1, []))[1]
    if header and not any(name.strip() for name in header):
        raise ValueError("its first line names no columns")
    names = [name if name.strip() else f"Unnamed: {i}" for i, name in enumerate(header)]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"its header has {repeated} twice: give each column a name of its own")
    return names


def read_lines(
    file: Path, names: Sequence[str], separator: str, encoding: str
) -> Iterator[list[str | None]]:
    """The cells of each row.

    Excel leaves out empty cells at the end of a row, so a row may have fewer than the header; how
    many do is a warning.

    Raises:
        ValueError: a row has more, or quotation marks that do not match; it is named by its line.
    """
    short: list[int] = []
    records = _records(file, separator, encoding)
    next(records, None)  # the header
    for line, cells in records:
        if len(cells) > len(names):
            raise ValueError(
                f"line {line} has {len(cells)} cells where the header names {len(names)}: a cell "
                f"that holds {separator!r} must be in quotation marks"
            )
        if len(cells) < len(names):
            short.append(line)
        yield [*cells, *([None] * (len(names) - len(cells)))]
    if short:
        log.warning(
            "%s: %d rows have fewer cells than the header, the first in line %d; those at the end "
            "are taken as missing",
            file,
            len(short),
            short[0],
        )


def _records(file: Path, separator: str, encoding: str) -> Iterator[tuple[int, list[str]]]:
    """(number of its first line, cells) of each record that is not blank."""
    with _any_length(), file.open(encoding=encoding, newline="") as lines:
        reader = csv.reader(lines, delimiter=separator, strict=True)
        start = 1
        try:
            for cells in reader:
                if len(cells) > 1 or any(cell.strip() for cell in cells):
                    yield start, cells
                start = reader.line_num + 1
        except csv.Error as error:
            raise ValueError(f"line {start}: {error}") from None


@contextmanager
def _any_length() -> Iterator[None]:
    """Lets a cell be as long as an image; `csv` has one limit for all readers."""
    limit = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(limit)
