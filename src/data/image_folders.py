"""Folders of images beside a table of them, in the layout of `datasets`' imagefolder."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from datasets import Dataset, Value, load_dataset

from .decoding import rows_of
from .text_files import SEPARATORS, delimited_table, json_table
from .texts import as_text

METADATA = "metadata"
METADATA_ENDINGS = (".csv", ".jsonl")
FILE_NAME, IMAGE = "file_name", "image"
"""Columns: the image of a row relative to the folder, and its path."""


def folder_table(folder: Path, cache_dir: Path) -> Dataset:
    """The table of a folder; its column `image` holds the images that `file_name` tells.

    Raises:
        ValueError: an image lies outside of the folder.
    """
    files = sorted(folder.rglob(f"{METADATA}.*"))
    if len(files) != 1 or files[0].parent != folder or files[0].suffix not in METADATA_ENDINGS:
        # Splits in folders of their own, folders as labels, zip files.
        options = {"split": "train", "cache_dir": str(cache_dir)}
        return load_dataset("imagefolder", data_dir=str(folder), **options)
    return table_of_images(
        files[0], files[0].suffix, lambda name: _path_in(folder, name), cache_dir
    )


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
