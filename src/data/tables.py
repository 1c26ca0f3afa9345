"""From any table to canonical samples: which column is what is configuration.

A `TableSource` names the columns of somebody's table; its subclasses know where tables come from
(`ivcprune.data.hub`, `ivcprune.data.files`). See docs/adding_a_benchmark.md.
"""

from __future__ import annotations

import hashlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from datasets import Dataset

from ..checks import check_at_least
from ..provenance.code import code_of, home_of
from .adapters import Adapter, Row, text_in
from .answers import ANSWER_FORMATS
from .boxes import BOX_FORMATS
from .conversion import MISSING, Converter
from .frames import FrameSampler
from .image_cells import images_in
from .sample import FEATURES
from .texts import as_list, as_text

log = logging.getLogger(__name__)

FORMAT_VERSION = 4
"""Part of every cache file's name: raise it when the same table gives other samples."""

ROLES = ("id", "group", "task", "image", "video", "question", "answer", "choices", "hint",
         "category", "box")  # fmt: skip
"""What `columns` may name."""

PACKAGE = __package__.partition(".")[0] + "."
NOT_IN_KEY = ("frames", "expected_rows", "expected_samples", "samples_certain")
"""Fields on which the samples do not depend."""


@dataclass(frozen=True, kw_only=True)
class TableSource(ABC):
    """A benchmark that lies in a table, whose columns the configuration names.

    Attributes:
        name: what runs, tables and files call the benchmark.
        task: of all samples, unless `columns` names a column `task`.
        columns: role -> column, or list of columns; see `ROLES`. Ids are joined by "-", categories
            by " / ", paths by "/"; options may be one list column or a column each. Without `id`
            rows are numbered. A row that becomes several samples counts them in their ids.
        metadata: key -> column; what the benchmark's metric needs beside the canonical columns.
        adapters: what happens to a row before its columns are read; see `ivcprune.data.adapters`.
        where: column -> value, or list of values, of the rows to keep; before the adapters.
        missing: which texts stand for a missing cell; a key of `MISSING`.
        answer_format: how answers are written; a key of `ivcprune.data.answers.ANSWER_FORMATS`.
        box_format: "xyxy" or "xywh", pixels of the original image; a key of
            `ivcprune.data.boxes.BOX_FORMATS`.
        image_folder: what paths of images are relative to.
        video_folder: what paths of videos are relative to.
        frames: which frames of a video are shown; None where there are no videos.
        expected_rows: rows that the table must have, before `where`; None = not known.
        expected_samples: samples that it must give; None = not known.
        samples_certain: whether another number of samples is an error; else it is a warning.
        labelled: answers and boxes are read, and a row without is an error row; else they are not
            looked at, see `ivcprune.data.unlabelled`.
    """

    name: str
    task: str
    columns: Mapping[str, str | list[str]]
    metadata: Mapping[str, str] = field(default_factory=dict)
    adapters: Sequence[Adapter] = ()
    where: Mapping[str, Any] = field(default_factory=dict)
    missing: str = "none"
    answer_format: str = "text"
    box_format: str = "xyxy"
    image_folder: str | None = None
    video_folder: str | None = None
    frames: FrameSampler | None = None
    expected_rows: int | None = None
    expected_samples: int | None = None
    samples_certain: bool = True
    labelled: bool = True

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.columns) - set(ROLES)):
            raise ValueError(f"data.columns has {unknown}: choose from {list(ROLES)}")
        for option, known in (
            ("missing", MISSING), ("answer_format", ANSWER_FORMATS), ("box_format", BOX_FORMATS)
        ):  # fmt: skip
            if (value := getattr(self, option)) not in known:
                raise ValueError(f"data.{option} is {value!r}: choose one of {sorted(known)}")
        for count in ("expected_rows", "expected_samples"):
            if (value := getattr(self, count)) is not None:
                check_at_least(f"data.{count}", value, 0)

    @abstractmethod
    def read(self, cache_dir: Path) -> Dataset:
        """The table as its author published it, images undecoded or not.

        Raises:
            ValueError, FileNotFoundError: it cannot be had; one sentence says what to do.
        """

    @property
    def place(self) -> str:
        """The setting that says where the table is, with its value, for messages."""
        return f"data.name is {self.name!r}"

    def stamp(self) -> str:
        """Changes when the table itself may have changed; "" where that cannot be seen."""
        return ""

    def has_sample(self, row: Row) -> bool:
        """Whether a row of the table is used."""
        return all(
            any(_is_meant(text_in(row, column), value) for value in as_list(wanted))
            for column, wanted in self.where.items()
        )

    def image_reader(self, table: Dataset) -> Callable[[Any], list[Row]]:
        """What reads an image cell of `table` as undecoded images."""
        return lambda cell: images_in(cell, self.image_folder)

    def load(self, cache_dir: Path) -> Dataset:
        """All samples in the columns of `FEATURES`; converted once, kept under `cache_dir`.

        Rows that cannot be used keep their places, with the reason in the column `error`.

        Raises:
            ValueError, FileNotFoundError: the table cannot be had, lacks a column, does not have
                the expected number of rows, or has none that can be used.
        """
        self._check_folders()
        file = cache_dir / "benchmarks" / f"{self.name}-{self._key()}.arrow"
        if not file.exists():
            self._convert(cache_dir, file)
        samples = Dataset.from_file(str(file))
        try:
            self._check_samples(samples["error"])
        except ValueError:
            # Whoever corrects the source gets another table from it, not this one.
            file.unlink(missing_ok=True)
            raise
        return samples

    def _convert(self, cache_dir: Path, file: Path) -> None:
        table = self.read(cache_dir)
        if not len(table):
            raise ValueError(
                f"data {self.name!r} has no rows ({self.place}): name a file or a split that has "
                "some"
            )
        if self.expected_rows not in (None, len(table)):
            raise ValueError(
                f"data {self.name!r} has {len(table)} rows where {self.expected_rows} are "
                "expected: the source has changed, so its scores cannot be compared; use the "
                "version that has them, or say that you mean it with data.expected_rows=null"
            )
        file.parent.mkdir(parents=True, exist_ok=True)
        # As arrow, images stay undecoded. `map` writes to a file of its own and renames it, so that
        # processes may convert at once.
        table.with_format("arrow").map(
            Converter(self, self.image_reader(table)).samples_of_batch,
            with_indices=True,
            batched=True,
            batch_size=16,
            writer_batch_size=64,
            remove_columns=table.column_names,
            features=FEATURES,
            cache_file_name=str(file),
            new_fingerprint=file.stem,
            load_from_cache_file=False,
        )

    def _check_folders(self) -> None:
        for role in ("image", "video"):
            folder = getattr(self, f"{role}_folder")
            if folder is not None and not Path(folder).expanduser().is_dir():
                raise FileNotFoundError(
                    f"data.{role}_folder is {folder!r}, which is no folder: give the one that the "
                    f"{role}s of {self.name!r} were unpacked into"
                )
        if "video" in self.columns and self.video_folder is None:
            raise ValueError(
                f"data.video_folder is null: unpack the videos of {self.name!r} (docs/benchmarks.md"
                " says where they are) and name their folder"
            )

    def _check_samples(self, errors: Sequence[str]) -> None:
        n, reasons = len(errors), [error for error in errors if error]
        if n == 0:
            raise ValueError(
                f"data {self.name!r} gives no samples: data.where={dict(self.where)} and "
                "data.adapters keep none of its rows"
            )
        if reasons:
            self._check_usable(n, reasons)
        if self.expected_samples in (None, n):
            return
        message = f"data {self.name!r} gives {n} samples where {self.expected_samples} are expected"
        if reasons and n < self.expected_samples:
            log.warning("%s; a row that cannot be used may stand for several", message)
        elif self.samples_certain:
            raise ValueError(
                f"{message}: the source has changed, so its scores cannot be compared; use the "
                "version that has them, or say that you mean it with data.expected_samples=null"
            )
        else:
            log.warning("%s; the expected number is not certain, so check the source", message)

    def _check_usable(self, n: int, reasons: Sequence[str]) -> None:
        if len(reasons) == n:
            raise ValueError(
                f"data {self.name!r} has {n} rows and none can be used ({reasons[0]}): correct "
                "data.columns, data.answer_format or another setting that says what cells mean"
            )
        log.warning(
            "data %r: %d of %d samples cannot be used (%s) and will be errors in the results",
            self.name,
            len(reasons),
            n,
            reasons[0],
        )

    def _key(self) -> str:
        settings = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in NOT_IN_KEY}
        parts = (FORMAT_VERSION, type(self).__name__, sorted(settings.items()), self.stamp())
        content = repr(parts) + repr(self._code_of_others() or "")
        return hashlib.sha256(content.encode()).hexdigest()[:12]

    def _code_of_others(self) -> dict[str, str]:
        """A digest of the code of sources and adapters that are not of this package.

        Ours has `FORMAT_VERSION`: not every change of it gives other samples.
        """
        others = [c for c in (self, *self.adapters) if not home_of(c).startswith(PACKAGE)]
        return code_of(others, modules=())


def _is_meant(text: str, wanted: Any) -> bool:
    """Whether a cell is what `where` names; truth may be in any case, as `True` in a csv."""
    return (text.lower() if isinstance(wanted, bool) else text) == as_text(wanted)
