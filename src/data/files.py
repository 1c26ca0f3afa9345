"""Tables in files, local or downloaded: csv, tsv, json, parquet, and VLMEvalKit's tsv."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
from datasets import Dataset, DownloadConfig, DownloadManager, Features, Value, load_dataset

from .adapters import Row, cell_of
from .cells import as_list, as_text, decode_base64, parse_list, stamp_of
from .tables import TableSource

READERS = {"csv": "csv", "tsv": "csv", "json": "json", "jsonl": "json", "parquet": "parquet"}
"""Builder of `datasets` by file name ending."""

LONGEST_REFERENCE = 64
"""Characters; a longer image cell is an image."""

CHUNK = 64
"""Rows that are read at once: a cell may hold an image of a megabyte."""


@dataclass(frozen=True, kw_only=True)
class FileSource(TableSource):
    """A table in one file; the cells of csv and tsv are all text.

    Attributes:
        path: of the file, or its address (https:// or hf://), from which it is downloaded once.
            Its ending says what it holds; see `READERS`. A folder is an `imagefolder`: images
            beside a `metadata.csv` or `metadata.jsonl`.
        md5: of the file; None = not checked.
    """

    path: str
    md5: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self._ending not in READERS and not Path(self.path).expanduser().is_dir():
            raise ValueError(
                f"data.path is {self.path!r}: it must be a folder of images, or a file that ends "
                f"with one of {list(READERS)}"
            )

    @property
    def _ending(self) -> str:
        return Path(self.path).suffix.removeprefix(".").lower()

    def stamp(self) -> str:
        return stamp_of(Path(self.path).expanduser())

    def read(self, cache_dir: Path) -> Dataset:
        file = self._fetch(cache_dir)
        self._check_md5(file)
        options: dict[str, Any] = {"split": "train", "cache_dir": str(cache_dir / "datasets")}
        try:
            return self._load(file, options)
        # What a reader raises is its own affair, and wrapped by `datasets`; no row can be told.
        except Exception as error:
            if isinstance(error.__cause__, OSError):  # a full disk, not this file
                raise
            problem = " ".join(str(error.__cause__ or error).split())
            raise ValueError(
                f"{file}, the table of {self.name!r}, cannot be read as {self._ending or 'images'} "
                f"({problem}): repair the file"
            ) from error

    def _load(self, file: Path, options: dict[str, Any]) -> Dataset:
        if file.is_dir():
            return load_dataset("imagefolder", data_dir=str(file), **options)
        reader = READERS[self._ending]
        if reader == "csv":
            separator = "\t" if self._ending == "tsv" else ","
            # Without types of its own, pandas would read "01" as 1 and a column with gaps as
            # floats; what is missing is decided by `missing`.
            options |= {
                "sep": separator,
                "features": _all_text(file, separator),
                "keep_default_na": False,
                "chunksize": CHUNK,
            }
        return load_dataset(reader, data_files=str(file), **options)

    def _fetch(self, cache_dir: Path) -> Path:
        if "://" not in self.path:
            file = Path(self.path).expanduser()
            if not file.exists():
                raise FileNotFoundError(
                    f"data.path is {self.path!r}, which does not exist: download it, or name "
                    f"where the table of {self.name!r} is"
                )
            return file
        config = DownloadConfig(cache_dir=str(cache_dir / "downloads"))
        try:
            return Path(DownloadManager(download_config=config).download(self.path))
        except (OSError, ValueError) as error:
            raise FileNotFoundError(
                f"data {self.name!r} cannot be downloaded from {self.path} "
                f"({' '.join(str(error).split())}): check the network, or download it yourself and "
                "name the file with data.path"
            ) from error

    def _check_md5(self, file: Path) -> None:
        if self.md5 is None:
            return
        with file.open("rb") as content:
            found = hashlib.file_digest(content, "md5").hexdigest()
        if found != self.md5:
            raise ValueError(
                f"{file}, the table of {self.name!r}, has the md5 {found} instead of {self.md5}: "
                "the download broke off or the file has changed; delete it to download it again, "
                "or say that you mean this one with data.md5=null"
            )


@dataclass(frozen=True, kw_only=True)
class TsvSource(FileSource):
    """A table in VLMEvalKit's layout, in which images are base64 cells.

    A cell of at most 64 characters is no image but the `index` of the row that holds it; a list
    written as text is several images. Rows without an image are left out, as published.

    Attributes:
        index_column: names the rows; its image is the one that `columns` gives.
    """

    index_column: str = "index"
    missing: str = "pandas"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.columns.get("image"), str):
            raise ValueError("data.columns.image must name the one column of base64 images")

    @property
    def _image_column(self) -> str:
        return str(self.columns["image"])

    def has_sample(self, row: Row) -> bool:
        return cell_of(row, self._image_column) is not None and super().has_sample(row)

    def image_reader(self, table: Dataset) -> Callable[[Any], list[Row]]:
        if missing := {self.index_column, self._image_column} - set(table.column_names):
            raise ValueError(
                f"data {self.name!r} has no column {sorted(missing)}: its columns are "
                f"{sorted(table.column_names)}"
            )
        indices = table.data.column(self.index_column).to_pylist()
        lengths = pc.utf8_length(table.data.column(self._image_column)).to_pylist()
        holders = {
            as_text(index): position
            for position, (index, length) in enumerate(zip(indices, lengths, strict=True))
            if length is not None and length > LONGEST_REFERENCE
        }

        def base64_of(cell: str) -> str:
            if len(cell) > LONGEST_REFERENCE or cell not in holders:
                return cell
            return str(table[holders[cell]][self._image_column])

        return lambda cell: [
            decode_base64(part) for text in as_list(cell) for part in parse_list(base64_of(text))
        ]


def _all_text(file: Path, separator: str) -> Features:
    """Every column of a csv file as text, by its header."""
    with file.open(encoding="utf-8", newline="") as lines:
        header = next(csv.reader(lines, delimiter=separator), [])
    return Features({name: Value("large_string") for name in header})
