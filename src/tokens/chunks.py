"""Large intermediate tables in pieces, so that memory stays linear in the number of tokens."""

from __future__ import annotations

from collections.abc import Iterator

LARGEST = 2**24
"""Most elements of an intermediate table that are held at once, where its entries allow it."""


def chunk_length(size: int) -> int:
    """Entries that are computed at once: one at least.

    Args:
        size: elements of the intermediate table for each entry.
    """
    return max(1, LARGEST // max(1, size))


def chunks(n: int, size: int) -> Iterator[slice]:
    """The slices of n entries that are computed one after the other; `size` as above."""
    step = chunk_length(size)
    return (slice(start, start + step) for start in range(0, n, step))
