"""Rules of the contract that recorded tokens show. Each returns how it is broken, or None."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from ..selectors import Per, Ranked, Selector, signals_of
from ..selectors.base import children, decision
from ..selectors.selection import Selection
from ..tokens.visual import VisualTokens
from .decisions import decided, difference, wrong_states_of
from .tokens import RecordedSample, recorded_tokens, thinned, widened

SAMPLES = (
    RecordedSample(((4, 5),), before=3, after=6, seed=1),
    RecordedSample(((3, 4), (5, 7)), before=5, after=9, seed=2),
    RecordedSample(((1, 6), (2, 2), (6, 3)), before=2, after=4, seed=3),
)
"""A ragged batch: text and images of different length, 1 to 3 images a sample."""

LITTLE = tuple(
    RecordedSample((grid,), before, after, seed=4)
    for grid in ((1, 1), (2, 3))
    for before, after in ((0, 0), (0, 1), (1, 0), (0, 2), (2, 0), (1, 1))
)
"""A single visual token or a few, with 0, 1 or 2 text tokens."""


def frozen_value(selector: Selector) -> str | None:
    """A frozen dataclass; a pickled copy is equal, and hashes alike where it can be hashed."""
    parameters = vars(type(selector)).get("__dataclass_params__")
    if parameters is None or not parameters.frozen:
        return f"decorate {type(selector).__name__} with @dataclass(frozen=True)"
    copy = pickle.loads(pickle.dumps(selector))
    if copy != selector:
        return "a pickled copy does not equal it: keep its state in fields that can be compared"
    with suppress(TypeError):  # a mapping among the fields has no hash
        if hash(copy) != hash(selector):
            return "a pickled copy has another hash: leave __hash__ to the dataclass"
    return None


def result_dtype(selector: Selector) -> str | None:
    """`select` returns a bool tensor on the tokens' device, or a `Selection` with one."""
    tokens = recorded_tokens(SAMPLES)
    chosen = selector.select(tokens)
    keep = chosen.keep if isinstance(chosen, Selection) else chosen
    if not isinstance(keep, Tensor) or keep.dtype != torch.bool:
        got = keep.dtype if isinstance(keep, Tensor) else type(keep).__name__
        return f"select returned {got}: a torch.bool tensor is expected"
    if keep.device != tokens.device:
        return f"select returned a mask on {keep.device} for tokens on {tokens.device}"
    return None


def states(selector: Selector) -> str | None:
    """Merged and added states: one per token, in the model's dtype, finite; origins in the row."""
    return wrong_states_of(selector, recorded_tokens(SAMPLES))


def sizes(selector: Selector) -> str | None:
    """`sizes` and `at_most` are true where they say anything."""
    for samples in (SAMPLES, SAMPLES[:1], *((sample,) for sample in LITTLE)):
        tokens = recorded_tokens(samples)
        kept = (decision(selector, tokens).keep & tokens.valid).sum(dim=1).tolist()
        exact, most = selector.sizes(tokens), selector.at_most(tokens)
        if exact is not None and exact != kept:
            return f"sizes says {exact}, but select keeps {kept} tokens of each row"
        if most is not None and any(n > m for n, m in zip(kept, most, strict=True)):
            return f"at_most says {most}, but select keeps {kept} tokens of each row"
    return None


def declared_signals(selector: Selector) -> str | None:
    """The signals in `needs` are all that it asks for: hooks are placed for those only."""
    selector.select(replace(recorded_tokens(SAMPLES), needs=signals_of(selector)))
    return None


def inputs_unchanged(selector: Selector) -> str | None:
    """The tensors that it is given still hold what they held before."""
    tokens = recorded_tokens(SAMPLES)
    selector.select(tokens)
    before = _tensors(recorded_tokens(SAMPLES))
    changed = [name for name, x in _tensors(tokens).items() if not torch.equal(x, before[name])]
    return f"select wrote into {', '.join(changed)}: work on a copy" if changed else None


def determinism(selector: Selector) -> str | None:
    """The same tokens give the same choice, also after others were seen."""
    tokens = recorded_tokens(SAMPLES)
    first = decided(selector, tokens)
    decided(selector, recorded_tokens(LITTLE))
    for again in (tokens, recorded_tokens(SAMPLES)):
        if different := difference(first, decided(selector, again), exact=True):
            return f"the same tokens twice: {different}"
    return None


def budget(selector: Selector) -> str | None:
    """A ranking keeps exactly its budget, or all eligible tokens where these are fewer."""
    whole = recorded_tokens(SAMPLES)
    for tokens in (whole, whole.restrict(whole.cell[..., 0] > 0), _survivors()):
        for ranking, seen in _rankings(selector, tokens):
            candidates = seen.eligible & seen.valid
            keep = ranking.select(seen) & seen.valid
            if (keep & ~candidates).any():
                return f"{type(ranking).__name__} keeps tokens that are not eligible"
            available = candidates.sum(dim=1).tolist()
            wanted = [min(n, k) for n, k in zip(available, ranking.budget(seen), strict=True)]
            if (counts := keep.sum(dim=1).tolist()) != wanted:
                name = type(ranking).__name__
                return f"{name} keeps {counts} tokens of its rows, its budget is {wanted}"
    return None


def padding(selector: Selector) -> str | None:
    """What padding holds, and how much of it there is, changes nothing."""
    plain = decided(selector, recorded_tokens(SAMPLES))
    wide = decided(selector, widened(recorded_tokens(SAMPLES), extra=5))
    if different := difference(plain, wide):
        return f"other data in the padding of a wider table: {different}; mask with `valid`"
    longer = decided(selector, recorded_tokens(SAMPLES, padding=7))
    if different := difference(plain, longer):
        return f"more left padding of the sequence: {different}; `index` and `slot` move with it"
    return None


def row_order(selector: Selector) -> str | None:
    """A row's place in the table changes nothing."""
    plain = decided(selector, recorded_tokens(SAMPLES))
    different = difference(plain, decided(selector, recorded_tokens(SAMPLES, interleaved=True)))
    return f"rows in another order: {different}" if different else None


def batch_equals_singles(selector: Selector) -> str | None:
    """A sample keeps the same tokens alone and in any batch."""
    together = decided(selector, recorded_tokens(SAMPLES))
    alone = {
        (number, image): row
        for number, sample in enumerate(SAMPLES)
        for (_, image), row in decided(selector, recorded_tokens([sample])).items()
    }
    different = difference(together, alone)
    return f"in the batch and alone: {different}" if different else None


def little_input(selector: Selector) -> str | None:
    """0, 1 or 2 text tokens and a single visual token: no exception, no NaN."""
    for batch in (*([sample] for sample in LITTLE), LITTLE):
        tokens = recorded_tokens(batch)
        if wrong := wrong_states_of(selector, tokens):
            return wrong
        if ranking := _nan_ranking(selector, tokens):
            n_text = [sample.before + sample.after for sample in batch]
            return f"{ranking}.score holds NaN with {n_text} text tokens"
    return None


def later_stage(selector: Selector) -> str | None:
    """Rows that an earlier stage left, holes in their grid, one or all of them empty."""
    tokens = _survivors()
    shape = decision(selector, tokens).keep.shape
    selector.select(thinned(tokens, torch.ones(tokens.shape, dtype=torch.bool)))
    if tuple(shape) != tokens.shape:
        return f"select returned shape {tuple(shape)}: {tokens.shape} is expected"
    if ranking := _nan_ranking(selector, tokens):
        return f"{ranking}.score holds NaN"
    return wrong_states_of(selector, tokens)


def _survivors() -> VisualTokens:
    """Every third token is gone, and the whole first image of the second sample."""
    tokens = recorded_tokens(SAMPLES)
    is_first = (tokens.sample == 1) & (tokens.image == 0)
    return thinned(tokens, (tokens.ordinal % 3 == 0) | is_first[:, None])


def _rankings(selector: Selector, tokens: VisualTokens) -> Iterator[tuple[Ranked, VisualTokens]]:
    """Every ranking in a composition, with the tokens in the rows that it ranks over."""
    if isinstance(selector, Per):
        tokens = tokens.regroup(selector.scope)
    if isinstance(selector, Ranked):
        yield selector, tokens
    for child in children(selector):
        yield from _rankings(child, tokens)


def _nan_ranking(selector: Selector, tokens: VisualTokens) -> str | None:
    """Name of a ranking in the composition with a NaN score at a valid token."""
    for ranking, seen in _rankings(selector, tokens):
        if (ranking.score(seen).isnan() & seen.valid).any():
            return type(ranking).__name__
    return None


def _tensors(owner: Any) -> dict[str, Tensor]:
    """Every tensor of the tokens and of their signals, by name."""
    found: dict[str, Tensor] = {}
    for item in fields(owner):
        value = getattr(owner, item.name)
        if isinstance(value, Tensor):
            found[item.name] = value
        elif item.name in ("signals", "input") and value is not None:
            found |= _tensors(value)
    return found
