"""Tables in files, local or downloaded: csv, tsv, json, parquet, and VLMEvalKit's tsv."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, DownloadConfig, DownloadManager

from ..checks import one_line
from .adapters import Row, cell_of
from .cells import parse_list, stamp_of
from .image_cells import decode_base64, image_in
from .image_folders import folder_table
from .parquet_files import parquet_table
from .pictures import ENCODED
from .tables import TableSource
from .text_files import SEPARATORS, delimited_table, json_table
from .texts import as_list, as_text

READERS = [*SEPARATORS, "json", "jsonl", "parquet"]
"""File name endings of tables."""

LONGEST_REFERENCE = 64
"""Characters; a longer image cell is an image."""


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

    @property
    def place(self) -> str:
        return f"data.path is {self.path!r}"

    def stamp(self) -> str:
        return stamp_of(Path(self.path).expanduser())

    def files(self) -> list[Path] | None:
        """The table; None for a folder, or an address. Pictures may lie in files of their own."""
        file = Path(self.path).expanduser()
        return [file] if file.is_file() else None

    def read(self, cache_dir: Path) -> Dataset:
        file = self._fetch(cache_dir)
        self._check_md5(file)
        try:
            return self._load(file, cache_dir / "datasets")
        # What a reader raises is its own affair, and wrapped by `datasets`; no row can be told.
        except Exception as error:
            cause = error.__cause__ or error
            if isinstance(error.__cause__, OSError):  # a full disk, not this file
                raise
            raise ValueError(
                f"{file}, the table of {self.name!r}, cannot be read as {self._ending or 'images'} "
                f"({one_line(cause)}): {self._remedy(file, cause)}"
            ) from error

    def _remedy(self, file: Path, cause: BaseException) -> str:
        """What helps where the table cannot be read."""
        if "://" in self.path:
            return f"delete {file} to download it again"
        if file.is_dir():
            return (
                "images need a whole metadata.csv or metadata.jsonl beside them, which names them"
            )
        if isinstance(cause, UnicodeDecodeError):
            return "save the file in UTF-8"
        return "replace the file by a whole one" if self._ending == "parquet" else "repair the file"

    def _load(self, file: Path, cache_dir: Path) -> Dataset:
        if file.is_dir():
            return folder_table(file, cache_dir)
        if self._ending in SEPARATORS:
            return delimited_table(file, SEPARATORS[self._ending], cache_dir)
        if self._ending == "parquet":
            return parquet_table(file, cache_dir)
        return json_table(file, cache_dir)

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
                f"({one_line(error.__cause__ or error)}): check the network, or download it "
                "yourself and name the file with data.path"
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
        lengths = _lengths(table.data.column(self._image_column))
        holders = {
            as_text(index): position
            for position, (index, length) in enumerate(zip(indices, lengths, strict=True))
            if length is not None and length > LONGEST_REFERENCE
        }

        def referred(cell: Any) -> Any:
            if not isinstance(cell, str) or len(cell) > LONGEST_REFERENCE or cell not in holders:
                return cell
            return table[holders[cell]][self._image_column]

        return lambda cell: [
            image
            for whole in as_list(cell)
            for part in parse_list(referred(whole))
            if (image := self._image_of(part)) is not None
        ]

    def _image_of(self, cell: Any) -> Row | None:
        """The image of a cell; without a folder no text is a path, but perhaps damaged base64."""
        image = image_in(cell, self.image_folder)
        if image is None or image["path"] is None or self.image_folder is not None:
            return image
        return {**ENCODED, "bytes": decode_base64(as_text(cell))}


def _lengths(images: pa.ChunkedArray) -> list[int | None]:
    """Of each image cell: characters, or bytes; no image is copied."""
    is_text = pa.types.is_string(images.type) or pa.types.is_large_string(images.type)
    lengths: list[int | None] = (
        pc.utf8_length(images) if is_text else pc.binary_length(images)
    ).to_pylist()
    return lengths
