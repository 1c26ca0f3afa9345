"""The name of a policy that another selector was put into."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

SWAP = re.compile(
    r"\+{0,2}/?selector@policy\.stages\.(?P<stage>[^.=]+)\.selector(?P<part>\.[^=]+)?=(?P<name>.+)"
)
"""The override that puts a selector into a stage, or into a part of the selector that is there."""


def named_by_swaps(policy: str, config: Mapping[str, Any], overrides: Iterable[str]) -> str:
    """The policy's name, with the selectors that overrides put into it.

    A policy of one stage is named by its new selector first, "border in random"; otherwise the
    place is named: "pdrop with early=border". By the policy's name alone, the result of a selector
    would be read, and put into the paper's tables, as that of the policy that it was put into.

    Args:
        policy: what the run itself calls it.
        config: of the run.
        overrides: such as "selector@policy.stages.select.selector=border".
    """
    configured = config.get("policy") or {}
    if policy != configured.get("name"):
        return policy  # the run knew better than its configuration
    swaps = {}
    for override in overrides:
        if found := SWAP.fullmatch(override):
            place = (found["stage"] + (found["part"] or "")).replace(".selector", "")
            swaps[place] = found["name"]
    if len(configured.get("stages") or ()) == 1 and list(swaps) == list(configured["stages"]):
        return f"{next(iter(swaps.values()))} in {policy}"
    told = ", ".join(f"{place}={name}" for place, name in swaps.items())
    return f"{policy} with {told}" if told else policy
