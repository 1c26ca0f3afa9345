"""Small steps from the rows of a source to rows that columns can be named in.

An adapter gets one row and returns the rows that it becomes: one, several, or none. A data
configuration lists its adapters; they run in that order, before `columns` are read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .cells import parse_list, whole_number
from .texts import as_list, as_text, shortened, without_junk

Row = dict[str, Any]
Adapter = Callable[[Row], list[Row]]


class MissingColumnError(Exception):
    """The table has no column of this name, whatever the row."""


def cell_of(row: Mapping[str, Any], column: str) -> Any:
    """A cell by its column; a dot leads into a struct, as in `image_info.file_name`.

    In a list a name leads into each of its members, as in `answers.answer`, and a number to one of
    them, counted from 0.

    Returns:
        the cell; None within a struct that is missing.

    Raises:
        MissingColumnError: there is no such column.
        ValueError: this row's struct is none, or lacks the name.
    """
    if column in row:
        return row[column]
    first, *names = column.split(".")
    if first not in row:
        raise MissingColumnError(column)
    try:
        return _within(row[first], names)
    except (LookupError, TypeError):
        raise ValueError(f"{column} leads nowhere in {shortened(row[first])}") from None


def _within(cell: Any, names: Sequence[str]) -> Any:
    if not names or cell is None:
        return cell
    name, *rest = names
    if isinstance(cell, Mapping):
        return _within(cell[name], rest)
    if not isinstance(cell, list):
        raise TypeError("neither a struct nor a list")
    if name.isdecimal():
        return _within(cell[int(name)], rest)
    return [_within(member, names) for member in cell]


def text_in(row: Mapping[str, Any], column: str) -> str:
    """A cell as text, by its column.

    Raises:
        MissingColumnError: there is no such column.
        ValueError: the cell is no text.
    """
    cell = cell_of(row, column)
    try:
        return as_text(cell)
    except ValueError as error:
        raise ValueError(f"column {column!r}: {error}") from None


def number_in(row: Mapping[str, Any], column: str) -> float:
    """A cell as a number, by its column.

    Raises:
        MissingColumnError: there is no such column.
        ValueError: the cell is no number.
    """
    cell = cell_of(row, column)
    try:
        return float(cell)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"column {column!r}: {shortened(cell)} is no number") from None


@dataclass(frozen=True)
class Explode:
    """One row for each member of a list.

    Attributes:
        column: holds the list, or text with `separator` between the members.
        to: the column that gets the member; None = `column` itself.
    """

    column: str
    to: str | None = None
    separator: str | None = None

    def __call__(self, row: Row) -> list[Row]:
        cell = cell_of(row, self.column)
        if cell is None:
            raise ValueError(f"{self.column} is missing, which is to become a sample or several")
        if self.separator is not None:
            members: list[Any] = [
                part.strip() for part in text_in(row, self.column).split(self.separator)
            ]
        else:
            members = parse_list(cell)
        return [row | {self.to or self.column: member} for member in members]


@dataclass(frozen=True)
class Template:
    """A column made of others: `{img_id}.jpg`."""

    to: str
    template: str

    def __call__(self, row: Row) -> list[Row]:
        names = re.findall(r"{([^{}]+)}", self.template)
        text = self.template
        for name in names:
            text = text.replace(f"{{{name}}}", text_in(row, name))
        return [row | {self.to: text}]


@dataclass(frozen=True)
class Lookup:
    """A column that follows from another by a table.

    Raises, when called:
        ValueError: the table has no entry for a cell.
    """

    column: str
    to: str
    table: Mapping[str, str]

    def __call__(self, row: Row) -> list[Row]:
        key = text_in(row, self.column)
        if key not in self.table:
            raise ValueError(f"{self.column} is {key!r}: known are {sorted(self.table)}")
        return [row | {self.to: self.table[key]}]


@dataclass(frozen=True)
class Part:
    """A column that is one part of another, such as the task in `mazenav.0.2`.

    Attributes:
        index: of the part between separators; negative ones count from the end.
    """

    column: str
    to: str
    separator: str
    index: int

    def __call__(self, row: Row) -> list[Row]:
        text = text_in(row, self.column)
        parts = text.split(self.separator)
        if not -len(parts) <= self.index < len(parts):
            raise ValueError(f"{self.column} is {text!r}: it has no part {self.index}")
        return [row | {self.to: parts[self.index]}]


@dataclass(frozen=True)
class Modulo:
    """A column that is the remainder of a whole number: the base row of MMBench's rotations."""

    column: str
    to: str
    divisor: int

    def __call__(self, row: Row) -> list[Row]:
        return [row | {self.to: whole_number(cell_of(row, self.column)) % self.divisor}]


@dataclass(frozen=True)
class Strip:
    """Text without the phrases that its own prompt would repeat, or letters before options.

    Attributes:
        column: holds text, or a list of texts.
        pattern: regular expression; what it matches is removed, then white space at the ends.
    """

    column: str
    pattern: str

    def __call__(self, row: Row) -> list[Row]:
        cell = cell_of(row, self.column)
        texts = [without_junk(as_text(text)) for text in as_list(cell)]
        stripped = [re.sub(self.pattern, "", text).strip() for text in texts]
        return [row | {self.column: stripped if isinstance(cell, list) else "".join(stripped)}]


_OPTION = re.compile(r"^[ \t]*\(?([A-Z])[.):][ \t]*(.*?)[ \t]*$", re.MULTILINE)


@dataclass(frozen=True)
class InlineOptions:
    """Options on lines of their own in the question: `A. text`, `(A) text`, `A) text` or `A: text`.

    Attributes:
        column: holds the question; the options are taken out of it.
        to: the column that gets the list of their texts.
        task_without: task of a question without options, written to the column `task`; None = the
            task of all samples.
        task_with: the same for one with options.
    """

    column: str
    to: str = "choices"
    task_with: str | None = None
    task_without: str | None = None

    def __call__(self, row: Row) -> list[Row]:
        text = without_junk(text_in(row, self.column))
        found = _consecutive(_OPTION.finditer(text))
        for match in reversed(found):
            text = text[: match.start()] + text[match.end() :]
        lines = [line.rstrip() for line in text.split("\n")]
        question = "\n".join(line for line in lines if line) if found else text
        changed: Row = {self.column: question.strip(), self.to: [match[2] for match in found]}
        if self.task_with or self.task_without:
            changed["task"] = self.task_with if found else self.task_without
        return [row | changed]


def _consecutive(matches: Iterable[re.Match[str]]) -> list[re.Match[str]]:
    """The matches that carry the letters A, B, C, ... in turn; none where there is only one."""
    found: list[re.Match[str]] = []
    for match in matches:
        if match[1] == chr(ord("A") + len(found)):
            found.append(match)
    return found if len(found) > 1 else []


@dataclass(frozen=True)
class UnionBox:
    """The smallest box around several, each given by four columns: x, y, width, height."""

    boxes: Sequence[Sequence[str]]
    to: str

    def __call__(self, row: Row) -> list[Row]:
        sides = [[number_in(row, name) for name in names] for names in self.boxes]
        left, top = min(x for x, *_ in sides), min(y for _, y, *_ in sides)
        right, bottom = max(x + w for x, _, w, _ in sides), max(y + h for _, y, _, h in sides)
        return [row | {self.to: [left, top, right - left, bottom - top]}]
