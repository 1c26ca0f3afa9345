"""What the layers of a decoder keep of a token, by the name that transformers gives their type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from transformers.cache_utils import (
    CacheLayerMixin,
    DynamicCache,
    DynamicLayer,
    DynamicSlidingWindowLayer,
)


class TokenRule(StrEnum):
    """What stays of a token in a layer that has seen it."""

    CACHED = "cached"
    """Its key and value, in the order of the sequence: full attention."""
    WINDOW = "window"
    """The same, seen by the tokens that follow within a window of the original sequence."""
    STATE = "state"
    """A change of one state for all tokens (recurrent layers, short convolutions): nothing that
    could be dropped, and what is not given to the layer leaves no trace."""


_STORES: dict[TokenRule, tuple[type, ...]] = {
    TokenRule.CACHED: (DynamicLayer,),
    TokenRule.WINDOW: (DynamicSlidingWindowLayer,),
}


def holds_tokens(layer: object) -> bool:
    """Whether a layer of a cache holds keys and values, rather than a state of the sequence."""
    return isinstance(layer, CacheLayerMixin)


def token_rules(config: Any, stated: Mapping[str, TokenRule]) -> list[TokenRule]:
    """The rule of each layer of a decoder.

    Args:
        config: of the decoder.
        stated: rules by type of layer, as the family states them.

    Raises:
        ValueError: a layer is of another type, or caches otherwise than its rule says.
    """
    layers = DynamicCache(config=config).layers
    types = getattr(config, "layer_types", None) or [_type_of(layer) for layer in layers]
    rules = [stated.get(name) for name in types]
    others = [
        i
        for i, (rule, layer) in enumerate(zip(rules, layers, strict=True))
        if rule is None or not _fits(rule, layer)
    ]
    if others:
        raise ValueError(_refusal(config, types, layers, others))
    return [rule for rule in rules if rule is not None]


def with_rule(rules: Sequence[TokenRule], *wanted: TokenRule) -> list[int]:
    """The layers that one of these rules holds for, ascending."""
    return [index for index, rule in enumerate(rules) if rule in wanted]


def _type_of(layer: object) -> str:
    return "sliding_attention" if getattr(layer, "is_sliding", False) else "full_attention"


def _fits(rule: TokenRule, layer: object) -> bool:
    if rule is TokenRule.STATE:
        return not holds_tokens(layer)
    return type(layer) in _STORES[rule]


def _refusal(
    config: Any, types: Sequence[str], layers: Sequence[object], others: Sequence[int]
) -> str:
    kind = f"{type(layers[others[0]]).__name__} ({types[others[0]]})"
    window = getattr(config, "sliding_window", None)
    what = f"attends in a sliding window of {window} tokens" if window else f"has a {kind}"
    return (
        f"the text model ({config.model_type}) {what} in {len(others)} of its "
        f"{config.num_hidden_layers} layers, from layer {others[0]} on: pruning needs layers "
        "of full attention, whose caches hold every token, or of a type that the model's family "
        "states a rule for, and so do its statistics; use another model"
    )
