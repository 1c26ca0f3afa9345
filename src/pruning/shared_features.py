"""What the vision tower makes of a batch, for all who ask on the same pictures."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

from .hooks import Override

METHODS = ("get_image_features", "get_video_features")
"""How transformers' models name the encoding of pictures, in `generate` and in `forward`."""


@dataclass(frozen=True, eq=False)
class _Encoded:
    """One call: what was given, which is held so that no other tensor can take its place."""

    given: tuple[Any, ...]
    result: Any

    def is_of(self, given: tuple[Any, ...]) -> bool:
        pairs = zip(self.given, given, strict=False)
        return len(given) == len(self.given) and all(_same(a, b) for a, b in pairs)


class SharedFeatures:
    """Keeps the result of the latest call for images, and for videos."""

    def __init__(self, core: nn.Module) -> None:
        """Of a model whose core, see `Family.core`, encodes pictures by `METHODS`."""
        self._core = core
        self._encoded: dict[str, _Encoded] = {}

    def share(self, block: ExitStack, keep: bool) -> None:
        """Until the block ends, the same pictures are not encoded again.

        Args:
            keep: somebody may ask again, after this block.
        """
        for name in METHODS:
            if hasattr(self._core, name):
                call = Override(self._core, name, partial(self._features, name))
                block.callback(call.remove)
        if not keep:
            block.callback(self.forget)

    def forget(self) -> None:
        self._encoded.clear()

    def _features(self, name: str, original: Any, *args: Any, **kwargs: Any) -> Any:
        given = (*args, *_flat(sorted(kwargs.items())))
        known = self._encoded.get(name)
        if known is None or not known.is_of(given):
            known = self._encoded[name] = _Encoded(given, original(*args, **kwargs))
        # models put pieces of it in the place of the whole
        return copy.copy(known.result)


def _flat(pairs: Iterable[tuple[str, Any]]) -> list[Any]:
    return [part for pair in pairs for part in pair]


def _same(a: Any, b: Any) -> bool:
    """Tensors are compared by identity, which costs nothing and is never wrong."""
    return a is b or (not (isinstance(a, Tensor) or isinstance(b, Tensor)) and bool(a == b))
