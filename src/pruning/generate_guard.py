"""What a model must not be asked to generate inside a prune block, found out before it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any

from torch import Tensor, nn
from transformers import Cache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from ..models.token_rules import holds_tokens
from .caches.names import given_cache
from .hooks import Override

ASSISTED = ("assistant_model", "use_mtp", "prompt_lookup_num_tokens", "assistant_early_exit")
CONTINUOUS = ("generate_batch", "init_continuous_batching", "continuous_batching_context_manager")

Around = Callable[[Mapping[str, Any]], AbstractContextManager[None]]
"""Given the arguments of `generate` by name: what it runs in."""


def guarded_generation(model: nn.Module, around: Around, prunes: bool) -> ExitStack:
    """Lets `model.generate` run inside of `around`, until the stack that it returns is closed.

    Continuous batching is refused, and models without `generate` (a bare backbone) have nothing to
    guard. All this sits on the instance, in front of the methods of its class: a `generate` of the
    class itself, or one taken before, passes `around` by, but not the check of its inputs.

    Args:
        prunes: something is pruned.
    """

    def generate(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        with around(_named(args, kwargs)):
            return original(*args, **kwargs)

    def prepare(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        _check_inputs(kwargs, prunes)
        return original(*args, **kwargs)

    calls = {"generate": generate, "prepare_inputs_for_generation": prepare}
    with ExitStack() as stack:
        for name, call in {**calls, **dict.fromkeys(CONTINUOUS, _refuse_continuous)}.items():
            if hasattr(model, name):
                stack.callback(Override(model, name, call).remove)
        return stack.pop_all()


def _check_inputs(kwargs: Mapping[str, Any], prunes: bool) -> None:
    """Refuse inputs of a prefill within any `generate`, which has made its mask by then."""
    mask = kwargs.get("attention_mask")
    if not kwargs.get("is_first_iteration"):
        return  # a step of decoding must not wait for the device
    if prunes:
        _check_use_of_cache(kwargs.get("use_cache"))
    if isinstance(mask, Tensor) and mask.dim() == 2 and mask.shape[1]:
        _refuse_padded(mask[:, -1] == 0)


def _named(args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments of `generate`, with its first two positional ones by name."""
    return {**dict(zip(("inputs", "generation_config"), args, strict=False)), **kwargs}


def _refuse_continuous(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    raise ValueError(
        "continuous batching (generate_batch and its manager) packs prompts into paged caches, "
        "which tokens cannot be dropped from: call generate with a left-padded batch inside a "
        "prune block"
    )


def prompt_ids(kwargs: Mapping[str, Any]) -> Tensor | None:
    """The prompts among the arguments of `generate`, long `[B, S]`, or None."""
    for name in ("input_ids", "inputs"):
        ids = kwargs.get(name)
        if isinstance(ids, Tensor) and ids.dim() == 2 and not ids.is_floating_point():
            return ids
    return None


def ids_of_embeddings(embeddings: Tensor | None, prompts: Tensor | None) -> Tensor | None:
    """What `generate` was given beside the embeddings of its prompts, for each sequence.

    Args:
        embeddings: `[B, S, E]` that the model was called with, or None.
        prompts: the prompts of `generate`, long `[b, S]`, or None outside of it.

    Returns:
        long `[B, S]`, where B is a multiple of b: beams follow one another. None where the
        embeddings are not those of the prompts, as in decoding.
    """
    if embeddings is None or prompts is None or embeddings.shape[1] != prompts.shape[1]:
        return None
    repeats, rest = divmod(len(embeddings), len(prompts))
    return None if rest else prompts.repeat_interleave(repeats, dim=0)


def check_padding(default: Any, kwargs: Mapping[str, Any]) -> None:
    """Refuse prompts whose padding stands where their continuation belongs.

    Without a mask, transformers takes padding tokens for padding where they end no answer.

    Args:
        default: the model's generation configuration.
        kwargs: arguments of `generate` by name.

    Raises:
        ValueError: naming the samples.
    """
    mask, ids = kwargs.get("attention_mask"), prompt_ids(kwargs)
    if isinstance(mask, Tensor) and mask.dim() == 2 and mask.shape[1]:
        padded = mask[:, -1] == 0
    elif mask is None and ids is not None and ids.shape[1]:
        pad, ends = (_option(default, kwargs, name) for name in ("pad_token_id", "eos_token_id"))
        if pad is None or pad in (ends if isinstance(ends, list | tuple) else [ends]):
            return
        padded = ids[:, -1] == pad
    else:
        return
    _refuse_padded(padded)


def _refuse_padded(padded: Tensor) -> None:
    if padded.any():
        samples = ", ".join(map(str, padded.nonzero()[:, 0].tolist()))
        raise ValueError(
            f"the prompts are padded on the right (samples {samples} end in padding), so generate "
            "would go on from padding: call the processor with padding_side='left', or set "
            "processor.tokenizer.padding_side = 'left'"
        )


def check_generate(default: Any, kwargs: Mapping[str, Any], windows: bool) -> None:
    """Refuse modes of generation that a pruned prefill cannot serve.

    Args:
        default: the model's generation configuration.
        kwargs: arguments of `generate` by name.
        windows: sliding windows are pruned too.

    Raises:
        ValueError: naming the argument, why it cannot work, and the way out.
    """

    def option(name: str) -> Any:
        return _option(default, kwargs, name)

    _check_use_of_cache(option("use_cache"))
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
    _check_cache(given_cache(kwargs), windows)


def _check_use_of_cache(use_cache: Any) -> None:
    if use_cache is False:
        raise ValueError(
            "generate(use_cache=False) reads the whole prompt anew for every token, and would "
            "select anew each time: leave use_cache on inside a prune block"
        )


def _option(default: Any, kwargs: Mapping[str, Any], name: str) -> Any:
    """An option of generation: as given, else of the given configuration, else the model's."""
    config = kwargs.get("generation_config") or default
    return kwargs.get(name, getattr(config, name, None))


def _check_cache(cache: Cache | None, windows: bool) -> None:
    for layer in cache.layers if cache is not None else []:
        if not holds_tokens(layer) or (windows and type(layer) is DynamicSlidingWindowLayer):
            continue
        if not isinstance(layer, DynamicLayer) or (layer.is_sliding and not windows):
            raise ValueError(
                f"the cache holds a {type(layer).__name__}: pruning needs a DynamicCache of "
                "full-attention layers"
            )
