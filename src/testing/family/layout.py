"""Rules about what a family says of a model as a whole, and of its visual tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ...models.token_rules import TokenRule
from .subject import Subject, places


def statements(subject: Subject) -> str | None:
    """Its model type, its layers' types, its default layer."""
    family, config = subject.family, subject.model.config
    if config.model_type not in family.model_types:
        return (
            f"the model is of type {config.model_type!r}, and `model_types` is {family.model_types}"
        )
    family.check(config)
    if TokenRule.WINDOW in subject.rules and not family.own_masks:
        return (
            "`token_rules` state windows but `own_masks` is False: masks that are made anew over "
            "what is left would widen them"
        )
    for depth in (subject.depth, 32):
        if not 0 <= (layer := family.default_layer(depth)) < depth:
            return f"`default_layer({depth})` is {layer}: it must be one of the {depth} layers"
    return None


def layout(subject: Subject) -> str | None:
    """`blocks` has the tokens that pictures decide, all of them, in their grids."""
    for name, inputs in subject.inputs.items():
        tokens = subject.tokens(inputs)
        told = places(tokens, inputs, lambda t: t.valid)
        plain = places(tokens, inputs, lambda t: t.valid & ~t.special)
        true = _depend_on_pictures(subject, inputs)
        for sample in range(len(true)):
            if wrong := _misplaced(told[sample], plain[sample], true[sample]):
                return f"in {name}, sample {sample}: {wrong}"
        for row in tokens.rows:
            if row.original_count > row.grid[0] * row.grid[1]:
                return f"in {name}: a block has {row.original_count} tokens in a grid {row.grid}"
        centres = tokens.xy[tokens.valid]
        if (centres < 0).any() or (centres > 1).any():
            return f"in {name}: `xy` leaves the picture, whose sides run from 0 to 1"
    return None


def _misplaced(told: Tensor, plain: Tensor, true: Tensor) -> str | None:
    """How blocks miss the tokens that are a picture's, each bool `[S]`."""
    for what, where in (
        ("`blocks` calls these visual, which no picture changes", plain & ~true),
        ("`blocks` lacks these, which the picture changes", true & ~told),
        ("`blocks` calls these special, but the picture changes them", true & told & ~plain),
    ):
        if where.any():
            first = true.nonzero()[:, 0].tolist()
            span = f"from {first[0]} to {first[-1]}" if first else "nowhere"
            slots = where.nonzero()[:, 0].tolist()
            more = f" and {len(slots) - 4} more" if len(slots) > 4 else ""
            return (
                f"{what}: slots {', '.join(map(str, slots[:4]))}{more} of the input. Its pictures "
                f"are {span} ({len(first)} tokens)"
            )
    return None


def _depend_on_pictures(subject: Subject, inputs: Mapping[str, Any]) -> Tensor:
    """Tokens whose embeddings change with the pixels, bool `[B, S]`."""
    first = _embeddings(subject, inputs)
    generator = torch.Generator().manual_seed(0)
    other = {
        # by a factor, so that padding of zeros stays
        key: x * (0.5 + torch.rand(x.shape, generator=generator))
        if isinstance(x, Tensor) and x.is_floating_point()
        else x
        for key, x in inputs.items()
    }
    return (first != _embeddings(subject, other)).any(dim=-1)


def _embeddings(subject: Subject, inputs: Mapping[str, Any]) -> Tensor:
    given: list[Tensor] = []
    hook = subject.family.text_model(subject.model).register_forward_pre_hook(
        lambda module, args, kwargs: given.append(kwargs["inputs_embeds"]), with_kwargs=True
    )
    try:
        with torch.no_grad():
            subject.model(**inputs)
    finally:
        hook.remove()
    return given[0]
