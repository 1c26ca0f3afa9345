"""The name of a policy that something was put into: another selector, or the coordinates."""

from __future__ import annotations

import re
from collections.abc import Iterable

from omegaconf import DictConfig, open_dict

NAMED = re.compile(r"\+{0,2}policy\.name=")
SWAP = re.compile(
    r"\+{0,2}/?selector@policy\.stages\.(?P<stage>[^.=]+)\.selector(?P<part>\.[^=]+)?=(?P<name>.+)"
)
"""The override that puts a selector into a stage, or into a part of the selector that is there."""
OWN_CLASS = re.compile(
    r"\+{0,2}policy\.stages\.(?P<stage>[^.=]+)\.selector(?P<part>\.[^=]+)?\._target_=(?P<name>.+)"
)
"""The override that names another class for a selector, or for a part of it."""
WITH_IVC = " + IVC"
"""How the name of a policy with the coordinates ends: it is a method of its own."""
POSITIONS = re.compile(r"\+{0,2}policy\.positions=")


def named_by_swaps(policy: str, stages: Iterable[str], overrides: Iterable[str]) -> str:
    """The policy's name, with the selectors that overrides put into it; naming twice adds nothing.

    A policy of one stage is named by its new selector first, "border in random"; otherwise the
    place is named: "pdrop with early=border". By the policy's name alone, the result of a selector
    would be read, and put into the paper's tables, as that of the policy that it was put into. A
    name that an override gives is kept.

    Args:
        policy: its name in the configuration.
        stages: of the policy.
        overrides: such as "selector@policy.stages.select.selector=border".
    """
    given = list(overrides)
    if policy.endswith(WITH_IVC):
        return named_by_swaps(policy.removesuffix(WITH_IVC), stages, given) + WITH_IVC
    swaps = _swaps(given)
    if not swaps or any(NAMED.match(override) for override in given):
        return policy
    if list(swaps) == list(stages) and len(swaps) == 1:
        start = f"{next(iter(swaps.values()))} in "
        return policy if policy.startswith(start) else start + policy
    end = " with " + ", ".join(f"{place}={name}" for place, name in swaps.items())
    return policy if policy.endswith(end) else policy + end


def add_coordinates(policy: DictConfig, overrides: Iterable[str]) -> None:
    """What `ivc=true` makes of the configuration of a policy, in place; twice adds nothing.

    It is named "fastv + IVC", unless an override names it. Its positions stay what they are, also
    where the method would number them anew: only there are coordinates coordinates.
    """
    given = list(overrides)
    with open_dict(policy):
        policy.ivc = True
        if policy.get("stages") and not any(POSITIONS.match(override) for override in given):
            policy.positions = "keep"
    if not policy.name.endswith(WITH_IVC) and not any(NAMED.match(o) for o in given):
        policy.name += WITH_IVC


def _swaps(overrides: Iterable[str]) -> dict[str, str]:
    """New selectors by their place: a stage, or a part of its selector."""
    swaps = {}
    for override in overrides:
        if found := SWAP.fullmatch(override) or OWN_CLASS.fullmatch(override):
            place = (found["stage"] + (found["part"] or "")).replace(".selector", "")
            swaps[place] = _bare(found["name"])
    return swaps


def _bare(name: str) -> str:
    """A choice as it is; of a class its own name, `my_package.BorderSelector` as `border`."""
    name = name.strip("'\"")
    own = name.rpartition(".")[2]
    if own == name:
        return name.rpartition("/")[2]
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", own).lower()
    return words.removesuffix("_selector") or words
