"""Text files of repositories, read to the letter as those of one's own are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from datasets import (
    Dataset,
    DatasetBuilder,
    DownloadConfig,
    DownloadManager,
    ReadInstruction,
    concatenate_datasets,
)

from .text_files import delimited_table, json_table

_ALWAYS = frozenset({"name", "version", "data_dir", "data_files", "description", "features"})
"""Settings of a builder that say nothing of how a file is written."""

_READ = {"json": frozenset({"field"}), "csv": frozenset({"sep", "delimiter"})}
"""Builder of `datasets` -> its own settings that are followed here."""


def is_textual(builder: DatasetBuilder) -> bool:
    """Whether a builder would read csv or json files, with no setting that is not known here."""
    own = _READ.get(_module(builder))
    if own is None or builder.config.features is not None:
        return False
    usual = type(builder.config)()
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
    places = manager.download_and_extract(list(addresses))
    files = [Path(file) for file in manager.iter_files(places)]
    if _module(builder) == "csv":
        separator = config.delimiter or config.sep
        return concatenate([delimited_table(file, separator, cache_dir) for file in files])
    return concatenate([json_table(file, cache_dir, config.field) for file in files])


def concatenate(parts: Sequence[Dataset]) -> Dataset:
    """Tables one after the other, with all columns of any of them."""
    if len(parts) == 1:
        return parts[0]
    features = {name: feature for part in parts for name, feature in part.features.items()}
    aligned = []
    for part in parts:
        for name, feature in features.items():
            if name not in part.column_names:
                part = part.add_column(name, [None] * len(part), feature=feature)
        aligned.append(part)
    return concatenate_datasets(aligned)
