"""What decoder layers get beside hidden states, rotary embeddings and masks; what they return."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from ..models.base import Family
from ..models.wrappers import unwrapped
from .caches.names import CACHE_NAMES
from .read_arguments import is_read
from .sequence.packing import taken

_OWN = frozenset({"attention_mask", "position_embeddings", "position_ids", *CACHE_NAMES})
"""Arguments that pruning itself sees to."""


def hidden_first(
    layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Tensor, list[Any], dict[str, Any]]:
    """Input of a layer, its other positional arguments, and its keyword arguments."""
    if not args:
        name = _names(unwrapped(layer))[0]
        args, kwargs = (kwargs[name],), {k: v for k, v in kwargs.items() if k != name}
    hidden, *rest = args
    return hidden, rest, kwargs


def states_alone(layer: nn.Module, output: Any) -> Tensor:
    """What a layer returns.

    Raises:
        TypeError: it is not hidden states alone.
    """
    if isinstance(output, Tensor):
        return output
    raise TypeError(
        f"{type(unwrapped(layer)).__name__} returns a {type(output).__name__}: pruning needs "
        "decoder layers that return hidden states alone"
    )


class LayerArguments:
    """The arguments of the decoder layers of one prefill of S tokens."""

    def __init__(self, family: Family, length: int) -> None:
        self._family, self._length = family, length

    def check(
        self, layer: nn.Module, hidden: Tensor, rest: Sequence[Any], given: Mapping[str, Any]
    ) -> None:
        """Refuse what would reach pruned layers as long as the input.

        What no code of a layer reads is only handed on, as `labels` are: it may be of any length.

        Args:
            hidden: input of the layer.
            rest: its other positional arguments.
            given: its keyword arguments.

        Raises:
            ValueError: naming the argument.
        """
        layer = unwrapped(layer)
        if hidden.dim() != 3:
            raise ValueError(
                f"{type(layer).__name__} gets hidden states of {hidden.dim()} dimensions: pruning "
                "needs one state for each token, [batch, length, width]"
            )
        named = _OWN.union(self._family.per_token_arguments, self._family.whole_arguments)
        names = _names(layer)[1 : 1 + len(rest)]
        for name, value in (*zip(names, rest, strict=True), *given.items()):
            for tensor in () if name in named else _tensors(value):
                if self._length in tensor.shape and is_read(layer, name):
                    raise ValueError(self._refusal(layer, name, tensor))

    def left(
        self, layer: nn.Module, rest: Sequence[Any], given: Mapping[str, Any], origin: Tensor | None
    ) -> tuple[list[Any], dict[str, Any]]:
        """The arguments for what is left.

        Args:
            origin: slots of the input that its tokens come from, long `[B, S]`; None for all.
        """
        wanted = self._family.per_token_arguments
        if origin is None or not wanted:
            return list(rest), dict(given)
        names = _names(unwrapped(layer))[1 : 1 + len(rest)]
        positional = [
            _taken(value, origin) if name in wanted else value
            for name, value in zip(names, rest, strict=True)
        ]
        return positional, {k: _taken(v, origin) if k in wanted else v for k, v in given.items()}

    def _refusal(self, layer: nn.Module, name: str, tensor: Tensor) -> str:
        return (
            f"{type(layer).__name__} gets `{name}` of the shape {tuple(tensor.shape)}, which is as "
            f"long as the sequence of {self._length} tokens: the family {self._family.name!r} does "
            "not say what it is, and pruned layers would get it for the wrong tokens; name it in "
            "`per_token_arguments` ([batch, length, ...]: pruned along) or in `whole_arguments`"
        )


def _taken(value: Any, origin: Tensor) -> Any:
    return taken(value, origin) if isinstance(value, Tensor) else value


def _tensors(value: Any) -> Iterator[Tensor]:
    """The tensors in an argument, those in lists, tuples and dictionaries too."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)


def _names(layer: nn.Module) -> list[str]:
    """Names of a layer's positional arguments; of further ones, numbers."""
    parameters = inspect.signature(layer.forward).parameters.values()
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [x.name for x in parameters if x.kind in positional]
