"""Prompts and pictures without answers, and benchmarks whose answers nobody shall look at."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from datasets import Dataset
from PIL import Image

from .adapters import Row
from .files import READERS, FileSource
from .frames import FrameSampler
from .image_cells import images_in
from .sample import FEATURES
from .sources import Source
from .tables import TableSource

log = logging.getLogger(__name__)

AS_IT_STANDS = "prompt"
"""The task of prompts that no template is put around."""
LABELS: dict[str, Any] = {"answers": [], "boxes": [], "metadata": ""}
"""Columns that tell the truth, and what they hold where it is not told."""
TEXT = ".txt"
SHOWN = 3
"""Files that a message names."""


@dataclass(frozen=True)
class Unlabelled:
    """The samples of another source, without what they are scored by.

    Of a table, rows whose answers cannot be read are samples like others.
    """

    source: Source

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def frames(self) -> FrameSampler | None:
        return self.source.frames

    def load(self, cache_dir: Path) -> Dataset:
        source = self.source
        if isinstance(source, TableSource):
            source = replace(source, labelled=False)
        samples = source.load(cache_dir)
        names = [name for name in LABELS if name in samples.column_names]
        told = samples.remove_columns(names)
        for name in names:
            told = told.add_column(name, [LABELS[name]] * len(samples), feature=FEATURES[name])
        return told.select_columns(samples.column_names)


@dataclass(frozen=True, kw_only=True)
class PromptSource(FileSource):
    """Prompts and pictures: a table of both, a folder with one, or pictures beside their prompts.

    Attributes:
        path: a file of `ivcprune.data.files.READERS`, with a row for each prompt; or a folder. A
            folder holds one such table, or pictures with a `.txt` of the same name each. Paths of
            pictures are relative to the table's folder unless `image_folder` says otherwise.
        columns: of a table; see `TableSource`.
        task: whose template of the model a prompt is put into; "prompt" for none.
    """

    name: str = "prompts"
    task: str = AS_IT_STANDS
    columns: Mapping[str, str | list[str]] = field(
        default_factory=lambda: {"image": "image", "question": "prompt"}
    )
    labelled: bool = False

    def __post_init__(self) -> None:
        if "://" not in self.path and not Path(self.path).expanduser().exists():
            raise FileNotFoundError(
                f"data.path is {self.path!r}, which does not exist: give a folder, or a table of "
                f"prompts and pictures that ends with one of {READERS}"
            )
        if self.labelled:
            raise ValueError("data.labelled is True: prompts of this source have no answers")
        super().__post_init__()

    def read(self, cache_dir: Path) -> Dataset:
        folder = Path(self.path).expanduser()
        if not folder.is_dir():
            return super().read(cache_dir)
        tables = [file for file in _files_of(folder) if file.suffix[1:].lower() in READERS]
        if len(tables) > 1:
            raise ValueError(
                f"data.path is {self.path!r}, a folder with {len(tables)} tables ({_some(tables)}):"
                f" name the one that is meant, data.path={tables[0]}"
            )
        if tables:
            return replace(self, path=str(tables[0])).read(cache_dir)
        return self._paired(folder)

    def image_reader(self, table: Dataset) -> Callable[[Any], list[Row]]:
        place = Path(self.path).expanduser()
        beside = str(place if place.is_dir() else place.parent)
        folder = beside if self.image_folder is None and "://" not in self.path else None
        return lambda cell: images_in(cell, folder or self.image_folder)

    def _paired(self, folder: Path) -> Dataset:
        """A row for each picture with a text of its name, in the order of their paths.

        Raises:
            ValueError: there is none, a text has several pictures, or is no text.
        """
        files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
        endings = {ending for ending, kind in Image.registered_extensions().items()}
        pictures: dict[Path, list[Path]] = {}
        for file in files:
            if file.suffix.lower() in endings:
                pictures.setdefault(file.with_suffix(""), []).append(file)
        texts = {file.with_suffix(""): file for file in files if file.suffix.lower() == TEXT}
        pairs = sorted(pictures.keys() & texts.keys())
        if several := [stem for stem in pairs if len(pictures[stem]) > 1]:
            raise ValueError(
                f"data.path is {self.path!r}: {texts[several[0]]} has several pictures of its name "
                f"({_some(pictures[several[0]])}): rename all but one, or write a table, whose "
                "cells may list several"
            )
        if not pairs:
            raise ValueError(
                f"data.path is {self.path!r}, a folder without prompts: put a table into it (one "
                f"of {READERS}, with the columns {sorted(map(str, self.columns.values()))}), or "
                f"beside each picture a {TEXT} of its name"
            )
        alone = [file for stem, file in texts.items() if stem not in pictures]
        self._leave_out(alone, "they have no picture of their name")
        bare = [stem for stem in pictures if stem not in texts]
        self._leave_out([f for stem in bare for f in pictures[stem]], "they have no prompt")
        prompts = [_text_of(texts[stem]) for stem in pairs]
        paths = [str(pictures[stem][0].relative_to(folder)) for stem in pairs]
        return Dataset.from_dict(
            {str(self.columns["image"]): paths, str(self.columns["question"]): prompts}
        )

    def _leave_out(self, left: Sequence[Path], reason: str) -> None:
        if left:
            told = (self.name, len(left), reason, _some(left))
            log.warning("data %r: %d files are left out, since %s: %s", *told)


def _files_of(folder: Path) -> list[Path]:
    return [f for f in sorted(folder.iterdir()) if f.is_file() and not f.name.startswith(".")]


def _some(files: Iterable[Path]) -> str:
    names = [file.name for file in files]
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")


def _text_of(file: Path) -> str:
    try:
        return file.read_text("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is no text in UTF-8 ({error}): save it in UTF-8") from error
