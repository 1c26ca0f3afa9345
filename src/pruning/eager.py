"""No compiled code inside a prune block: it has no place for hooks that came after it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch


class _SharedStance:
    """PyTorch's stance towards compiled code, which is one for the whole process.

    The first of the blocks that are open at a time, in any threads, sets it, and the last one takes
    it back, in whatever order they end.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._blocks = 0
        self._stance: Any = None

    def begin(self) -> None:
        set_stance = cast(Callable[[str], Any], torch.compiler.set_stance)
        with self._lock:
            if not self._blocks:
                self._stance = set_stance("force_eager")
            self._blocks += 1

    def end(self) -> None:
        with self._lock:
            self._blocks -= 1
            if not self._blocks:
                self._stance.__exit__(None, None, None)


_SHARED = _SharedStance()


@contextmanager
def uncompiled() -> Iterator[None]:
    """Inside, compiled models, layers and functions run as they are written.

    PyTorch does not guard the hooks of modules: code that was compiled before a hook came goes on
    without it. Nothing is compiled anew, and after the block the compiled code is used again.

    Raises:
        RuntimeError: the block is itself inside of compiled code.
    """
    try:
        _SHARED.begin()
    except RuntimeError as error:
        raise RuntimeError(
            "a prune block cannot begin inside a compiled function, whose code knows no later "
            "hooks: compile less, or open the block around the call of that function"
        ) from error
    try:
        yield
    finally:
        _SHARED.end()
