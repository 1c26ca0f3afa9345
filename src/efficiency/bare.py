"""The bare model: the same layers on as many tokens as a policy leaves them, without the pruner."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn

from ..models.base import Family
from ..models.rotary import Rotary, each_rotary


@contextmanager
def recorded_lengths(layers: Iterable[nn.Module]) -> Iterator[dict[int, int]]:
    """The sequence length of each layer's first call; to be entered INSIDE a prune block."""
    lengths: dict[int, int] = {}

    def record(index: int, module: nn.Module, args: tuple[Any, ...]) -> None:
        lengths.setdefault(index, args[0].shape[1])

    with ExitStack() as hooks:
        for index, layer in enumerate(layers):
            handle = layer.register_forward_pre_hook(partial(record, index))
            hooks.callback(handle.remove)
        yield lengths


@contextmanager
def shortened(model: Any, family: Family, lengths: Sequence[int]) -> Iterator[None]:
    """Let each decoder layer see only its last `lengths[i]` tokens, for a prefill without padding.

    What it costs is a slice at each layer whose length changes. What the model answers means
    nothing: time and FLOPs do not depend on which tokens stay.
    """
    decoder = family.text_model(model)
    with ExitStack() as hooks:
        added = decoder.register_forward_pre_hook(
            partial(_without_additions, family), with_kwargs=True
        )
        hooks.callback(added.remove)
        for layer, length in zip(family.layers(model), lengths, strict=True):
            handle = layer.register_forward_pre_hook(partial(_shorten, length), with_kwargs=True)
            hooks.callback(handle.remove)
        yield


def _without_additions(
    family: Family, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """What a decoder adds between its layers has the length of the whole input."""
    return args, family.layer_additions(kwargs)[0]


def _shorten(length: int, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    hidden, *rest = args
    rotary: Rotary = kwargs["position_embeddings"]
    changed = {"position_embeddings": each_rotary(partial(_last, length), rotary)}
    return (_last(length, hidden), *rest), {
        **kwargs,
        **changed,
        "attention_mask": None,
        "position_ids": None,
    }


def _last(length: int, states: Tensor) -> Tensor:
    """The last tokens of `[B, S, ...]`, in memory of their own as after pruning."""
    return states if states.shape[1] == length else states[:, -length:].contiguous()
