"""The contract of a selector, rule by rule: plugin authors call `check_selector` in their tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..selectors import Selector
from . import live_rules, rules, shapes

Rule = Callable[[Selector], str | None]
"""Tries a selector; says how it breaks the rule, or None. An exception breaks the rule too."""

RULES: Mapping[str, Rule] = {
    "frozen value": rules.frozen_value,
    "result shape": shapes.result_shape,
    "result dtype": rules.result_dtype,
    "states": rules.states,
    "declared signals": rules.declared_signals,
    "inputs unchanged": rules.inputs_unchanged,
    "determinism": rules.determinism,
    "budget": rules.budget,
    "sizes": rules.sizes,
    "padding": rules.padding,
    "row order": rules.row_order,
    "batch equals singles": rules.batch_equals_singles,
    "little input": rules.little_input,
    "later stage": rules.later_stage,
    "keep all": live_rules.keep_all,
    "live model": live_rules.live_model,
    "hooks removed": live_rules.hooks_removed,
}
"""In the order in which they are tried: the first one that is broken is reported."""


class ContractError(AssertionError):
    """A selector or a family breaks a rule of its contract.

    Attributes:
        rule: its name in `RULES` or `FAMILY_RULES`.
        explanation: how it is broken.
    """

    def __init__(self, rule: str, explanation: str) -> None:
        super().__init__(rule, explanation)
        self.rule, self.explanation = rule, explanation

    def __str__(self) -> str:
        return f"broken rule {self.rule!r}: {self.explanation}"


def check_selector(selector: Selector) -> None:
    """Tries a selector against every rule, offline and on a CPU, in seconds.

    Made-up tokens of a ragged batch come first, then a tiny model with random weights.

    Raises:
        ContractError: names the first broken rule, and the line of the selector where there is
            one; an exception of the selector is its cause.

    Example:
        >>> check_selector(RandomSelector(keep=0.5))
    """
    for name, rule in RULES.items():
        try:
            broken = rule(selector)
        except Exception as error:
            raise ContractError(
                name, f"{type(error).__name__}: {error}{shapes.line_of(error)}"
            ) from error
        if broken is not None:
            raise ContractError(name, broken)
