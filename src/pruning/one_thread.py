"""One call at a time: what a pruner knows of a running call belongs to one thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class OneThread:
    """Lets one thread at a time generate, or run the model, inside a block."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._generating: int | None = None
        self._running: int | None = None

    @contextmanager
    def generating(self) -> Iterator[None]:
        """A whole `generate`, with all its forward calls.

        Raises:
            RuntimeError: another thread is not done yet.
        """
        with self._lock:
            before, self._generating = self._generating, self._own()
        try:
            yield
        finally:
            with self._lock:
                # an interrupted forward call has not said that it is over
                self._generating, self._running = before, None

    def begin(self) -> None:
        """A forward call begins; one of this thread that never ended is over.

        Raises:
            RuntimeError: another thread is not done yet.
        """
        with self._lock:
            self._running = self._own()

    def end(self) -> None:
        """The forward call is over; of another thread's, which was refused, this says nothing."""
        with self._lock:
            if self._running == threading.get_ident():
                self._running = None

    def _own(self) -> int:
        thread = threading.get_ident()
        if {self._generating, self._running} - {None, thread}:
            raise RuntimeError(
                "two threads call one model inside a prune block at the same time: let them take "
                "turns (a lock around the call), put their prompts into one batch, or give each "
                "thread a model and a block of its own"
            )
        return thread
