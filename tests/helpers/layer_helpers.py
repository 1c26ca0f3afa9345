"""Which layers of a tiny model have attention: in hybrid families not all of them do."""

from typing import Any

from ivcprune.models.registry import family_of_model
from ivcprune.models.token_rules import TokenRule, token_rules, with_rule

HYBRID = ("gemma3", "gemma4", "qwen3_5", "qwen3_5_moe")
"""Families whose tiny models have recurrent layers or windows, the first and the last ones."""


def layers_of(model: Any, *rules: TokenRule) -> list[int]:
    """The layers that one of these rules holds for."""
    stated = family_of_model(model).token_rules
    return with_rule(token_rules(model.config.get_text_config(), stated), *rules)


def readable(model: Any) -> list[int]:
    """The layers that selectors can ask for attention and values."""
    return layers_of(model, TokenRule.CACHED)


def cached(model: Any) -> list[int]:
    """The layers that have a cache of tokens."""
    return layers_of(model, TokenRule.CACHED, TokenRule.WINDOW)
