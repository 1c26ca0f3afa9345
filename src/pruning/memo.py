"""What layers alike share: made once for the very same tensors, not for equal ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class SameTensors(Generic[T]):
    """What was made of objects, found again by their identity.

    By identity, since comparing tensors would read them, and wait for the device, at every layer;
    layers alike hold the very same ones. The objects are held too, so that no id can be given to
    another one. Nothing is ever taken out: a memo belongs to one call of the decoder, or to one
    prefill, and goes with it.
    """

    def __init__(self) -> None:
        self._made: dict[tuple[int, ...], tuple[tuple[object, ...], T]] = {}

    def once(self, of: tuple[object, ...], make: Callable[[], T], *numbers: int) -> T:
        """What `make` gives for these objects (and numbers), which it is asked for once."""
        key = (*map(id, of), *numbers)
        if key not in self._made:
            self._made[key] = (of, make())
        return self._made[key][1]
