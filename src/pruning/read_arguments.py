"""Which arguments the code behind a decoder layer reads, told from that code."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from functools import cache
from types import CodeType, FunctionType
from typing import Any

from torch import nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS


def is_read(layer: nn.Module, name: str) -> bool:
    """Whether a module of the layer, or an attention function, reads an argument of this name.

    It does where a signature has the name, or code that gets `**kwargs` speaks of it as a key: what
    nobody reads is only handed on, as `labels` are. Functions that such code calls by a global name
    or as its own methods are looked through too, if they take `**kwargs` themselves.
    """
    return any(name in _in_code(function.__code__) for function in _functions(layer))


def _functions(layer: nn.Module) -> Iterator[FunctionType]:
    """What may get the arguments of a layer: also its classes' `forward`, behind replaced ones."""
    for module in layer.modules():
        called = [vars(module).get("forward"), type(module).forward]
        implementation = getattr(getattr(module, "config", None), "_attn_implementation", None)
        if implementation in ALL_ATTENTION_FUNCTIONS:
            called.append(ALL_ATTENTION_FUNCTIONS[implementation])
        seen: set[FunctionType] = set()
        for function in filter(None, map(_plain, called)):
            yield from _with_callees(function, type(module), seen)


def _with_callees(
    function: FunctionType, owner: type, seen: set[FunctionType]
) -> Iterator[FunctionType]:
    """A function, and those that may hand `**kwargs` on to one another from there."""
    if function in seen:
        return
    seen.add(function)
    yield function
    for name in function.__code__.co_names:
        found = function.__globals__.get(name), getattr(owner, name, None)
        for callee in filter(None, map(_plain, found)):
            if callee.__code__.co_flags & inspect.CO_VARKEYWORDS:
                yield from _with_callees(callee, owner, seen)


def _plain(call: Any) -> FunctionType | None:
    """The Python function behind decorators and methods; None where there is none."""
    call = inspect.unwrap(call) if callable(call) else None
    call = getattr(call, "__func__", call)
    return call if isinstance(call, FunctionType) else None


@cache  # code, not functions: these may be closures that hold a model
def _in_code(code: CodeType) -> frozenset[str]:
    """Names of parameters, and strings that may be keys of `**kwargs`."""
    n_named = code.co_argcount + code.co_kwonlyargcount
    return frozenset({*code.co_varnames[:n_named], *_strings(code.co_consts)})


def _strings(constant: Any) -> Iterator[str]:
    """The strings in a constant of code: in tuples, sets, and functions within it."""
    if isinstance(constant, str):
        yield constant
    elif isinstance(constant, CodeType):
        yield from _strings(constant.co_consts)
    elif isinstance(constant, tuple | frozenset):
        for item in constant:
            yield from _strings(item)
