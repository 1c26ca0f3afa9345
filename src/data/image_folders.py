"""Folders of images beside a table of them, in the layout of `datasets`' imagefolder."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from datasets import Dataset, DownloadConfig, DownloadManager, Value, load_dataset

from .cells import stamp_of
from .decoding import rows_of
from .joined import concatenate
from .text_files import SEPARATORS, delimited_table, json_table
from .texts import as_text

METADATA = "metadata"
METADATA_ENDINGS = (".csv", ".jsonl")
FILE_NAME, IMAGE = "file_name", "image"
"""Columns: the image of a row relative to the folder, and its path."""


class WithoutTableError(ValueError):
    """Images have no table beside them; `datasets` takes folders for labels."""


def folder_table(folder: Path, cache_dir: Path) -> Dataset:
    """The table of a folder; its column `image` holds the images that `file_name` tells.

    Raises:
        ValueError: an image lies outside of the folder.
    """
    file = _table_in(folder)
    if file is not None and file.parent == folder:
        return _table_of_folder(file, cache_dir)
    files = [str(path) for path in sorted(folder.rglob("*")) if path.is_file()]
    if files and all(map(is_archive, files)):
        # what is extracted is kept by the archive's path alone, which another may have taken
        config = DownloadConfig(cache_dir=str(cache_dir / "extracted" / stamp_of(folder)))
        with suppress(WithoutTableError):
            extracted = DownloadManager(download_config=config).extract(files)
            return table_of_archives(extracted, cache_dir)
    # Splits in folders of their own, folders as labels.
    options = {"split": "train", "cache_dir": str(cache_dir)}
    return load_dataset("imagefolder", data_dir=str(folder), **options)


def is_archive(address: str) -> bool:
    """Whether a file, or its address, is an archive by its ending."""
    return address.lower().endswith((".zip", ".tar", ".gz", ".tgz", ".7z", ".xz", ".bz2", ".zst"))


def table_of_archives(folders: Sequence[str], cache_dir: Path) -> Dataset:
    """The tables of extracted archives one after the other.

    Raises:
        WithoutTableError: one has no table of its images.
        ValueError: an image lies outside of its archive.
    """
    files = [_table_in(Path(folder)) for folder in folders]
    tables = [file for file in files if file is not None]
    if len(tables) < len(files):
        raise WithoutTableError("an archive of images has no table of them inside")
    return concatenate([_table_of_folder(file, cache_dir) for file in tables])


def _table_in(folder: Path) -> Path | None:
    """The one table of a folder's images, above them all; None where it is not so simple."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    tables = [path for path in files if path.stem == METADATA]
    if len(tables) != 1 or tables[0].suffix not in METADATA_ENDINGS:
        return None
    above = all(path.is_relative_to(tables[0].parent) for path in files)
    return tables[0] if above else None


def _table_of_folder(file: Path, cache_dir: Path) -> Dataset:
    return table_of_images(file, file.suffix, lambda name: _path_in(file.parent, name), cache_dir)


def table_of_images(
    file: Path, ending: str, place: Callable[[str], str], cache_dir: Path
) -> Dataset:
    """The table of a metadata file, with the column `image`.

    Args:
        ending: one of `METADATA_ENDINGS`; a download has none of its own.
        place: from the name of an image in the file to its path.

    Raises:
        ValueError: the file does not name images.
    """
    if ending == ".csv":
        table = delimited_table(file, SEPARATORS["csv"], cache_dir)
    else:
        table = json_table(file, cache_dir)
    if FILE_NAME not in table.column_names:
        raise ValueError(f"{file.name} has no column {FILE_NAME!r}, which names the images")
    cells = rows_of(table.select_columns([FILE_NAME]).with_format("arrow")[:])
    names = [as_text(cell[FILE_NAME]) for cell in cells]
    paths = [place(name) if name else None for name in names]
    return table.add_column(IMAGE, paths, feature=Value("string"))


def _path_in(folder: Path, name: str) -> str:
    """The path of an image, which must lie in its folder."""
    path = Path(os.path.normpath(folder / name))
    if not path.is_relative_to(os.path.normpath(folder)):
        raise ValueError(f"the image {name!r} lies outside of the folder")
    return str(path)
