"""From the rows of a table to rows of `FEATURES`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from .adapters import Adapter, Row, cell_of
from .cells import ANSWER_FORMATS, as_list, as_text, file_in, image_size, to_boxes, trim_choices
from .sample import DEFAULTS, FEATURES

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
    def has_sample(self, row: Row) -> bool: ...


@dataclass(frozen=True)
class Converter:
    """Turns rows of one table into samples.

    Attributes:
        images_of: from an image cell to undecoded images.
    """

    layout: Layout
    images_of: Callable[[Any], list[Row]]

    def samples_of_batch(self, batch: pa.Table, indices: list[int]) -> dict[str, list[Any]]:
        """Columns of samples from rows of a table; `indices` are their numbers in it.

        Raises:
            ValueError: a column is missing, or a cell cannot mean what the layout says.
        """
        samples: list[Row] = []
        for index, cells in zip(indices, batch.to_pylist(), strict=True):
            row = {column: self._cell(cell) for column, cell in cells.items()}
            try:
                samples += self._samples_of_row(row, index)
            except KeyError as error:
                raise ValueError(
                    f"data {self.layout.name!r} has no column {error.args[0]!r}: its columns are "
                    f"{sorted(row)}; correct data.columns, or use a version of the source with it"
                ) from error
            except (ValueError, TypeError) as error:
                raise ValueError(f"data {self.layout.name!r}, row {index}: {error}") from error
        return {column: [sample[column] for sample in samples] for column in FEATURES}

    def _cell(self, cell: Any) -> Any:
        return None if isinstance(cell, str) and cell in MISSING[self.layout.missing] else cell

    def _samples_of_row(self, row: Row, index: int) -> list[Row]:
        if not self.layout.has_sample(row):
            return []
        rows = [row]
        for adapter in self.layout.adapters:
            rows = [after for before in rows for after in adapter(before)]
        stems = [self._joined(row, "id", "-") or f"{index:06d}" for row in rows]
        if len(rows) == 1:
            return [self._sample(rows[0], stems[0], stems[0])]
        return [self._sample(row, f"{stems[k]}-{k}", stems[k]) for k, row in enumerate(rows)]

    def _sample(self, row: Row, sample_id: str, stem: str) -> Row:
        choices = trim_choices(as_list(self._one(row, "choices")))
        images = self.images_of(self._one(row, "image"))
        width, height = image_size(images[0]) if images else (0, 0)
        metadata = {key: cell_of(row, column) for key, column in self.layout.metadata.items()}
        video = self._joined(row, "video", "/")
        answer = ANSWER_FORMATS[self.layout.answer_format]
        return DEFAULTS | {
            "id": sample_id,
            "group_id": self._joined(row, "group", "-") or stem,
            "task": self._joined(row, "task", "") or self.layout.task,
            "images": images,
            "question": as_text(self._one(row, "question")),
            "answers": answer(self._one(row, "answer"), choices),
            "boxes": to_boxes(self._one(row, "box"), self.layout.box_format),
            "category": self._joined(row, "category", " / "),
            "width": width,
            "height": height,
            "choices": choices,
            "hint": as_text(self._one(row, "hint")),
            "metadata": json.dumps(metadata, ensure_ascii=False) if metadata else "",
            "video": file_in(self.layout.video_folder, video) if video else "",
        }

    def _one(self, row: Row, role: str) -> Any:
        """The cell of a role; of several columns, the list of their cells. None without any."""
        columns = self.layout.columns.get(role)
        if columns is None:
            return None
        if isinstance(columns, str):
            return cell_of(row, columns)
        return [cell_of(row, column) for column in columns]

    def _joined(self, row: Row, role: str, separator: str) -> str:
        return separator.join(filter(None, map(as_text, as_list(self._one(row, role)))))
