"""Cells that the metric of a benchmark needs, as JSON can hold them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .texts import as_list, as_text, is_missing

Json = None | bool | int | float | str | list[Any] | dict[str, Any]


def plain(cell: Any, column: str) -> Json:
    """A cell for a JSON object; None for not a number, text for dates and decimals.

    Raises:
        ValueError: it holds something that is no text.
    """
    if isinstance(cell, np.generic):
        cell = cell.item()
    if is_missing(cell):
        return None
    if isinstance(cell, bool | int | float | str):
        return cell
    if isinstance(cell, Mapping):
        return {as_text(key): plain(member, column) for key, member in cell.items()}
    if isinstance(cell, list | tuple):
        return [plain(member, column) for member in as_list(cell)]
    try:
        return as_text(cell)
    except ValueError as error:
        raise ValueError(f"column {column!r}: {error}") from None
