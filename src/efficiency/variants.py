"""Policies as they are measured: by name, brought to shares, without and with the coordinates."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from ..api import load_policy
from ..policy import PruningPolicy

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Variant:
    """A policy under one setting.

    Attributes:
        policy: its name in `conf/policy/`.
        average_tokens: the share that it is brought to; None: its own budget.
        ivc: whether the coordinates are added.
    """

    policy: str
    average_tokens: float | None = None
    ivc: bool = False

    def load(self, family: str) -> PruningPolicy:
        """The policy.

        Raises:
            ValueError: unknown policy, or one that refuses the setting.
        """
        asked = self.average_tokens
        overrides = [] if asked is None else [f"average_tokens={asked}"]
        return load_policy(self.policy, *overrides, family=family, ivc=self.ivc)


def variants_of(
    policies: Sequence[str], average_tokens: Sequence[float], ivc: Sequence[bool]
) -> Iterator[Variant]:
    """Every policy under every setting, in this order of nesting; vanilla is none of them."""
    for policy in dict.fromkeys(policies):
        if policy != "none":
            for asked in average_tokens or (None,):
                yield from (Variant(policy, asked, bool(with_ivc)) for with_ivc in ivc)


def loaded_variants(variants: Sequence[Variant], family: str) -> dict[Variant, PruningPolicy]:
    """Their policies; where settings were multiplied out, what one refuses is left out by name.

    Raises:
        ValueError: a policy refuses its only setting.
    """
    found = {}
    for variant in variants:
        try:
            found[variant] = variant.load(family)
        except ValueError as error:
            _leave_out(variant, variants, error)
    return found


def _leave_out(variant: Variant, variants: Sequence[Variant], error: ValueError) -> None:
    if sum(other.policy == variant.policy for other in variants) == 1:
        raise error
    log.warning("left out: %s: %s", name_of(variant, variant.policy), error)


def bound_layers(
    policies: dict[Variant, PruningPolicy], layers_of: Callable[[PruningPolicy], dict[str, int]]
) -> dict[Variant, dict[str, int]]:
    """Layers of the stages, by variant, of those that fit the model; see `loaded_variants`."""
    found = {}
    for variant, policy in policies.items():
        try:
            found[variant] = layers_of(policy)
        except ValueError as error:
            _leave_out(variant, list(policies), error)
    return found


def renamed(variant: Variant, policy: PruningPolicy) -> PruningPolicy:
    """The policy under the name that its results have."""
    return replace(policy, name=name_of(variant, policy.name))


def name_of(variant: Variant, policy: str) -> str:
    """For example "fastv + IVC, 33 %"."""
    asked = variant.average_tokens
    return policy if asked is None else f"{policy}, {100 * asked:g} %"
