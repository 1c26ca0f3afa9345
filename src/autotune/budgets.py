"""As many tokens as a target leaves to each method and layer."""

from __future__ import annotations

from collections.abc import Sequence

from .candidates import Candidate, Draft, Refusal
from .cost import Prefills
from .target import Target

STEPS = 24
"""Halvings of a search for a budget: far below one token."""


def check_before_loading(draft: Draft, target: Target) -> Refusal | None:
    """What is certain to miss the target, whatever the sizes of the pictures."""
    first, depth = min(draft.bound.layers.values()), draft.depth
    least, nearest = draft.least_tokens, {"kv": draft.least_tokens, "prefill": first / depth}
    if target.kv is not None and target.kv <= least:
        return Refusal(
            draft.label,
            f"kv {100 * target.kv:g} % cannot be reached: the layers whose caches stay full are "
            f"{100 * least:.1f} % already; the nearest is just above that",
            nearest,
        )
    if target.prefill is not None and target.prefill <= first / depth:
        return Refusal(
            draft.label,
            f"prefill {100 * target.prefill:g} % cannot be reached: the {first} of {depth} layers "
            f"before the first stage are {100 * first / depth:.1f} % already; the nearest is above "
            "that",
            nearest,
        )
    try:
        draft.bound_to(1.0 if target.kv is None else target.kv)
    except ValueError as error:
        return Refusal(draft.label, str(error))
    return None


def settled(
    draft: Draft,
    target: Target,
    budgets: Sequence[float],
    prefills: Prefills,
    sizes: Sequence[tuple[int, int]],
) -> list[Candidate] | Refusal:
    """The candidate with the largest budget within the target, and one for each further budget.

    Args:
        budgets: average tokens.
        sizes: visual and other tokens of typical samples.
    """
    most = 1.0 if target.kv is None else target.kv
    try:
        if target.prefill is not None:
            least = prefills.expected(draft.bound, sizes, empty=True)
            if target.prefill <= least:
                return Refusal(
                    draft.label,
                    f"prefill {100 * target.prefill:g} % cannot be reached: without any visual "
                    f"token behind its stages it is {100 * least:.1f} %, which is the nearest",
                    {"prefill": least},
                )
            most = _largest(draft, most, target.prefill, prefills, sizes)
        asked = dict.fromkeys([most, *(b for b in budgets if b > draft.least_tokens)])
        return [draft.candidate(average) for average in asked]
    except ValueError as error:
        return Refusal(draft.label, str(error))


def _largest(
    draft: Draft,
    most: float,
    prefill: float,
    prefills: Prefills,
    sizes: Sequence[tuple[int, int]],
) -> float:
    """The largest average of tokens up to `most` whose prefill is within the target."""

    def costs(average: float) -> float:
        return prefills.expected(draft.bound_to(average), sizes)

    if costs(most) <= prefill:
        return most
    low, high = draft.least_tokens, most
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if costs(middle) <= prefill else (low, middle)
    return round(low, 6)
