"""What `generate` must not be asked for while tokens are pruned, found out before it runs."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from transformers import Cache
from transformers.cache_utils import DynamicLayer

from .cache_names import given_cache

ASSISTED = ("assistant_model", "prompt_lookup_num_tokens", "assistant_early_exit")


class GenerateGuard:
    """Checks the arguments of `model.generate` from `install` until `remove`.

    The check sits on the instance, in front of the method of its class, which stays as it is.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._installed = False
        self._own: Any = None

    def install(self) -> None:
        """Models without `generate` (a bare backbone) have nothing to guard."""
        original = getattr(self._model, "generate", None)
        if original is None:
            return
        self._own = vars(self._model).get("generate")

        @functools.wraps(original)
        def generate(*args: Any, **kwargs: Any) -> Any:
            check_generate(self._model.generation_config, _named(args, kwargs))
            return original(*args, **kwargs)

        self._model.generate = generate
        self._installed = True

    def remove(self) -> None:
        """What the instance had in the place of its class's method, if anything, is back."""
        if not self._installed:
            return
        self._installed = False
        if self._own is None:
            del self._model.generate
        else:
            self._model.generate = self._own


def _named(args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments of `generate`, with its second positional one by name."""
    positional = {"generation_config": args[1]} if len(args) > 1 else {}
    return {**positional, **kwargs}


def check_generate(default: Any, kwargs: Mapping[str, Any]) -> None:
    """Refuse modes of generation that a pruned prefill cannot serve.

    Args:
        default: the model's generation configuration.
        kwargs: keyword arguments of `generate`.

    Raises:
        ValueError: naming the argument, why it cannot work, and the way out.
    """
    config = kwargs.get("generation_config") or default

    def option(name: str) -> Any:
        return kwargs.get(name, getattr(config, name, None))

    if option("use_cache") is False:
        raise ValueError(
            "generate(use_cache=False) reads the whole prompt anew for every token, and would "
            "select anew each time: leave use_cache on inside a prune block"
        )
    for name in ASSISTED:
        if option(name):
            raise ValueError(
                f"generate({name}=...) is assisted generation, which rolls the cache back: it is "
                "not supported inside a prune block"
            )
    if option("prefill_chunk_size"):
        raise ValueError(
            "generate(prefill_chunk_size=...) splits the prompt, and a selection needs all of it: "
            "leave it unset inside a prune block"
        )
    if (implementation := option("cache_implementation")) not in (None, "dynamic"):
        raise ValueError(
            f"generate(cache_implementation={implementation!r}) has layers of fixed or other "
            "storage: pruning needs the default dynamic cache, so leave it unset"
        )
    _check_cache(given_cache(kwargs))


def _check_cache(cache: Cache | None) -> None:
    for layer in cache.layers if cache is not None else []:
        if not isinstance(layer, DynamicLayer) or layer.is_sliding:
            raise ValueError(
                f"the cache holds a {type(layer).__name__}: pruning needs a DynamicCache of "
                "full-attention layers"
            )
