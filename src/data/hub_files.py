"""Text files of repositories, read to the letter as those of one's own are."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path, PurePosixPath
from typing import Any

from datasets import (
    Dataset,
    DatasetBuilder,
    DownloadConfig,
    DownloadManager,
    ReadInstruction,
)

from .image_folders import (
    METADATA,
    METADATA_ENDINGS,
    is_archive,
    table_of_archives,
    table_of_images,
)
from .joined import concatenate
from .text_files import delimited_table, json_table

_ALWAYS = frozenset({"name", "version", "data_dir", "data_files", "description", "features"})
"""Settings of a builder that say nothing of how a file is written."""

_READ = {
    "json": frozenset({"field"}),
    "csv": frozenset({"sep", "delimiter"}),
    "imagefolder": frozenset(),
}
"""Builder of `datasets` -> its own settings that are followed here."""


def is_textual(builder: DatasetBuilder) -> bool:
    """Whether a builder would read csv or json files, with no setting that is not known here.

    Folders of images count where each split has one such file that lies above all images, or
    archives alone, which may have it inside.
    """
    own = _READ.get(_module(builder))
    if own is None or builder.config.features is not None:
        return False
    usual = type(builder.config)()
    if _module(builder) == "imagefolder" and not all(
        _metadata_above(files) or all(map(is_archive, files))
        for files in (builder.config.data_files or {}).values()
    ):
        return False
    return all(
        getattr(builder.config, f.name) == getattr(usual, f.name)
        for f in fields(usual)
        if f.name not in own | _ALWAYS
    )


def _module(builder: DatasetBuilder) -> str:
    return type(builder).__module__.rpartition(".")[2]


def read_textual(builder: DatasetBuilder, split: str, cache_dir: Path) -> Dataset:
    """A split of a builder for which `is_textual` holds, such as "test" or "val+test[:10]".

    Raises:
        WithoutTableError: archives of images have no table inside.
        ValueError: there is no such split.
    """
    files = {str(name): files for name, files in (builder.config.data_files or {}).items()}
    wanted = {name for name in files if name in split}
    tables = {name: _read(builder, files[name], cache_dir) for name in sorted(wanted)}
    lengths = {name: len(table) for name, table in tables.items()}
    try:
        pieces = ReadInstruction.from_spec(split).to_absolute(lengths)
    except ValueError as error:
        raise ValueError(f"Unknown split {split!r}: there are {sorted(files)}") from error
    return concatenate([_piece(tables[piece.splitname], piece) for piece in pieces])


def _piece(table: Dataset, piece: Any) -> Dataset:
    start, end = piece.from_ or 0, len(table) if piece.to is None else piece.to
    return table if (start, end) == (0, len(table)) else table.select(range(start, end))


def _read(builder: DatasetBuilder, addresses: Sequence[str], cache_dir: Path) -> Dataset:
    """The table that the files at some addresses hold one after the other."""
    config = builder.config
    manager = DownloadManager(
        download_config=DownloadConfig(cache_dir=str(cache_dir / "downloads"))
    )
    if _module(builder) == "imagefolder":
        if all(map(is_archive, addresses)):
            return table_of_archives(manager.download_and_extract(list(addresses)), cache_dir)
        return _read_images(addresses, manager.download(list(addresses)), cache_dir)
    places = manager.download_and_extract(list(addresses))
    files = [Path(file) for file in manager.iter_files(places)]
    if _module(builder) == "csv":
        separator = config.delimiter or config.sep
        return concatenate([delimited_table(file, separator, cache_dir) for file in files])
    return concatenate([json_table(file, cache_dir, config.field) for file in files])


def _metadata_above(addresses: Sequence[str]) -> str | None:
    """The address of the one table of a split's images; None where it is not so simple."""
    tables = [address for address in addresses if PurePosixPath(address).stem == METADATA]
    if len(tables) != 1 or PurePosixPath(tables[0]).suffix not in METADATA_ENDINGS:
        return None
    folder = tables[0].rpartition("/")[0] + "/"
    beside = all(address.startswith(folder) for address in addresses)
    return tables[0] if beside and not any(map(is_archive, addresses)) else None


def _read_images(addresses: Sequence[str], places: Sequence[str], cache_dir: Path) -> Dataset:
    """The table of a split's images, each at its place on the disk."""
    table = _metadata_above(addresses)
    assert table is not None
    folder = table.rpartition("/")[0] + "/"
    downloaded = dict(zip(addresses, places, strict=True))

    def place(name: str) -> str:
        address = folder + posixpath.normpath(name)
        if address not in downloaded:
            raise ValueError(f"the image {name!r} is not in the repository")
        return downloaded[address]

    file = Path(downloaded[table])
    return table_of_images(file, PurePosixPath(table).suffix, place, cache_dir)
