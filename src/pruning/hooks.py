"""What a pruner puts on a model, such that a copy of the model does not carry it on."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import ExitStack
from copy import deepcopy
from typing import Any

from torch import nn


class Hook:
    """A hook of a pruner on a module; on a copy of the module it does nothing.

    Attributes:
        acts: whether it is the hook of a block, not its shadow on a copy.
    """

    def __init__(self, call: Callable[..., Any] | None) -> None:
        self._call = call

    @property
    def acts(self) -> bool:
        return self._call is not None

    def __call__(self, *args: Any) -> Any:
        return None if self._call is None else self._call(*args)

    def __deepcopy__(self, memo: dict[int, Any]) -> Hook:
        return Hook(None)


def add_before(block: ExitStack, module: nn.Module, call: Callable[..., Any]) -> None:
    """A pre-hook, with keyword arguments, until the block ends."""
    block.callback(module.register_forward_pre_hook(Hook(call), with_kwargs=True).remove)


def add_after(
    block: ExitStack, module: nn.Module, call: Callable[..., Any], always: bool = False
) -> None:
    """A hook on the output until the block ends; `always`: after an exception too, with None."""
    block.callback(module.register_forward_hook(Hook(call), always_call=always).remove)


def is_pruned(module: nn.Module) -> bool:
    """Whether hooks of a prune block are at work on a module."""
    hooks = module._forward_pre_hooks.values()
    return any(isinstance(hook, Hook) and hook.acts for hook in hooks)


def passed_by(what: str) -> str:
    """The message where something ran and our hooks were not called."""
    return (
        f"{what} without prune's hooks, so nothing would be pruned: modules that were exported, "
        "replaced inside the block or called by their `forward` have none; open the block on the "
        "model as it is called"
    )


class Override:
    """A call in the place of a method of ONE model, until `remove`; its class stays as it is.

    Args:
        name: of the method.
        own: the attribute that is set on the model, where it is not called as the method.
        call: gets the method, then the arguments of each call.
    """

    def __init__(
        self, model: nn.Module, name: str, call: Callable[..., Any], own: str = ""
    ) -> None:
        self._model, self._name, self._attribute = model, name, own or name
        original = getattr(model, name)
        self._before = vars(model).get(self._attribute)
        self._call = functools.partial(call, original)
        functools.update_wrapper(self, original, updated=())
        setattr(model, self._attribute, self)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._call(*args, **kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """In a copy of the model, the copy's own method."""
        copied = memo.get(id(self._model))
        if self._before is not None or copied is None:
            return deepcopy(self._before, memo)
        return getattr(type(copied), self._name).__get__(copied)  # a method's, a property's

    def remove(self) -> None:
        """What the model had in its place, if anything, is back."""
        if self._before is None:
            delattr(self._model, self._attribute)
        else:
            setattr(self._model, self._attribute, self._before)
