"""From the rows of a table to rows of `FEATURES`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from .adapters import Adapter, MissingColumnError, Row, cell_of
from .answers import ANSWER_FORMATS
from .boxes import to_boxes
from .cells import check_unwritten, file_in
from .decoding import rows_of
from .options import options_of, trim_choices
from .pictures import image_size
from .plain import plain
from .prompts import CHOICE_TASKS
from .sample import DEFAULTS, FEATURES
from .structures import scalars_of, text_of
from .texts import NoTextError, as_list, as_text, is_container, without_junk
from .usable import check_answer, check_askable, check_storable

MISSING: dict[str, frozenset[str]] = {
    "none": frozenset(),
    "literal_nan": frozenset({"nan"}),
    "pandas": frozenset(
        {"", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN",
         "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"}
    ),
}  # fmt: skip
"""Texts that stand for a missing cell. "pandas": as `pandas.read_csv` takes them, and with it the
published evaluation, which so loses an option whose text is "None"."""


class Layout(Protocol):
    """What is told about a table; `ivcprune.data.tables.TableSource` says what the fields mean."""

    @property
    def name(self) -> str: ...
    @property
    def task(self) -> str: ...
    @property
    def columns(self) -> Mapping[str, str | list[str]]: ...
    @property
    def metadata(self) -> Mapping[str, str]: ...
    @property
    def adapters(self) -> Sequence[Adapter]: ...
    @property
    def missing(self) -> str: ...
    @property
    def answer_format(self) -> str: ...
    @property
    def box_format(self) -> str: ...
    @property
    def video_folder(self) -> str | None: ...
    @property
    def labelled(self) -> bool: ...
    def has_sample(self, row: Row) -> bool: ...


@dataclass(frozen=True)
class Converter:
    """Turns rows of one table into samples.

    A row that cannot be read, or a part of one, becomes a row that says so: see `error` of
    `FEATURES`.

    Attributes:
        images_of: from an image cell to undecoded images.
    """

    layout: Layout
    images_of: Callable[[Any], list[Row]]

    def samples_of_batch(self, batch: pa.Table, indices: list[int]) -> dict[str, list[Any]]:
        """Columns of samples from rows of a table; `indices` are their numbers in it.

        Raises:
            ValueError: the table lacks a column.
        """
        samples: list[Row] = []
        for index, cells in zip(indices, rows_of(batch), strict=True):
            row = {column: self._cell(cell) for column, cell in cells.items()}
            try:
                samples += self._samples_of_row(row, index)
            except MissingColumnError as error:
                raise ValueError(
                    f"data {self.layout.name!r} has no column {error.args[0]!r}: its columns are "
                    f"{sorted(row)}; correct data.columns, or use a version of the source with it"
                ) from error
        return {column: [sample[column] for sample in samples] for column in FEATURES}

    def _cell(self, cell: Any) -> Any:
        return None if isinstance(cell, str) and cell in MISSING[self.layout.missing] else cell

    def _samples_of_row(self, row: Row, index: int) -> list[Row]:
        try:
            if not self.layout.has_sample(row):
                return []
            rows = self._adapted(row)
        except MissingColumnError:
            raise
        except Exception as error:
            return [self._unusable(row, index, error)]
        place = len(rows) > 1
        return [self._sample_or_error(r, index, k if place else None) for k, r in enumerate(rows)]

    def _adapted(self, row: Row) -> list[Row]:
        rows = [row]
        for adapter in self.layout.adapters:
            rows = [after for before in rows for after in adapter(before)]
        return rows

    def _sample_or_error(self, row: Row, index: int, place: int | None) -> Row:
        """The sample of a row, or an error row.

        Args:
            index: of the table's row.
            place: of several samples that it becomes; None = the only one.
        """
        try:
            return self._sample(row, index, place)
        except MissingColumnError:
            raise
        # Cells can be wrong in any way, and adapters may be a stranger's: whatever it is, it is the
        # trouble of this row alone. If it is that of all rows, `TableSource` refuses the table.
        except Exception as error:
            return self._unusable(row, index, error, place)

    def _sample(self, row: Row, index: int, place: int | None) -> Row:
        task = self._joined(row, "task", "") or self.layout.task
        options = self._options(row)
        with self._naming("image", ValueError):
            images = self.images_of(self._one(row, "image"))
        size = image_size(images[0]) if images else (0, 0)
        video = self._joined(row, "video", "/")
        sample = DEFAULTS | {
            "id": _numbered(self._stem(row, index), place),
            **self._belonging(row, index),
            "task": task,
            "images": images,
            "question": self._unwritten(row, "question"),
            "answers": [],
            "boxes": [],
            "width": size[0],
            "height": size[1],
            "choices": trim_choices(options),
            "hint": self._unwritten(row, "hint"),
            "video": file_in(self.layout.video_folder, video) if video else "",
        }
        if self.layout.labelled:
            sample["answers"] = self._answers(row, task, options)
            sample["boxes"] = to_boxes(self._one(row, "box"), self.layout.box_format, size)
        check_askable(sample, self.layout.columns, scored=self.layout.labelled)
        if self.layout.labelled:
            check_answer(sample, len(options))
        check_storable(sample)
        return sample

    def _options(self, row: Row) -> list[str]:
        with self._naming("choices"):
            return options_of(self._one(row, "choices"), self.layout.columns.get("choices"))

    def _answers(self, row: Row, task: str, options: Sequence[str]) -> list[str]:
        with self._naming("answer"):
            cell = self._one(row, "answer")
            if is_container(cell):
                cell = scalars_of(cell, "answer")
            if task == "yes_no" and self.layout.answer_format == "text":
                cell = [_in_words(member) for member in as_list(cell)]
            answers = ANSWER_FORMATS[self.layout.answer_format](cell, options)
        if task in CHOICE_TASKS:
            answers = [without_junk(answer).strip() for answer in answers]
        return answers

    def _unwritten(self, row: Row, role: str) -> str:
        text = self._text(row, role)
        check_unwritten(text, role)
        return text

    def _text(self, row: Row, role: str) -> str:
        with self._naming(role):
            return text_of(self._one(row, role), role)

    @contextmanager
    def _naming(self, role: str, kind: type[ValueError] = NoTextError) -> Iterator[None]:
        """Adds the columns of a role to what is said of their cells."""
        try:
            yield
        except kind as error:
            raise kind(f"column {self.layout.columns[role]!r}: {error}") from None

    def _stem(self, row: Row, index: int) -> str:
        """What names the table's row: its own id, else its number."""
        return self._joined(row, "id", "-") or f"{index:06d}"

    def _belonging(self, row: Row, index: int) -> Row:
        """What the benchmark's own metric tells samples apart by."""
        metadata = {
            key: plain(cell_of(row, column), column) for key, column in self.layout.metadata.items()
        }
        return {
            "group_id": self._joined(row, "group", "-") or self._stem(row, index),
            "category": self._joined(row, "category", " / "),
            "metadata": json.dumps(metadata, ensure_ascii=False) if metadata else "",
        }

    def _unusable(self, row: Row, index: int, error: Exception, place: int | None = None) -> Row:
        """A row in the place of a sample, with as much of it as can be read."""
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        about: Row = {"id": _numbered(f"{index:06d}", place), "group_id": "", "question": ""}
        for read in (
            lambda: {"id": _numbered(self._stem(row, index), place)},
            lambda: self._belonging(row, index),
            lambda: {"question": self._text(row, "question")},
        ):
            try:
                known = read()
                check_storable(known)
            # What cannot be read, or only after the adapters, stays unknown.
            except Exception:
                continue
            about |= known
        reason = f"row {index}: {kind}{error}".encode(errors="backslashreplace").decode()
        return DEFAULTS | about | {"task": self.layout.task, "error": reason}

    def _one(self, row: Row, role: str) -> Any:
        """The cell of a role; of several columns, the list of their cells. None without any."""
        columns = self.layout.columns.get(role)
        if columns is None:
            return None
        if isinstance(columns, str):
            return cell_of(row, columns)
        return [cell_of(row, column) for column in columns]

    def _joined(self, row: Row, role: str, separator: str) -> str:
        with self._naming(role):
            cells = scalars_of(self._one(row, role), role)
            return separator.join(filter(None, map(as_text, cells)))


def _in_words(cell: Any) -> Any:
    """Truth as the answer to a question of yes or no; any other cell as it is."""
    return ("Yes" if cell else "No") if isinstance(cell, bool) else cell


def _numbered(stem: str, place: int | None) -> str:
    return stem if place is None else f"{stem}-{place}"
