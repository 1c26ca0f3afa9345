"""What loops over batches must not mistake for their end."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def ends_no_loop(function: Callable[P, T]) -> Callable[P, T]:
    """`function`, whose StopIteration comes as RuntimeError, as PEP 479 has it for generators.

    DataLoader and the loops of Lightning take StopIteration for the end of the data, whoever raised
    it: a selector's `next()` on an empty iterator would finish a run with the samples so far.
    """

    @wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except StopIteration as error:
            raise RuntimeError(f"StopIteration in {function.__qualname__}: {error}") from error

    return guarded
