"""Which tokens of a picture stay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ...pruning.live_signals import InputSignals
from ...selectors.base import decision
from ...selectors.selection import checked_selection
from .picture import Picture
from .scout import scout
from .signals import ScoutSignals, no_norm


def kept_tokens(
    picture: Picture,
    features: Tensor,
    text_embeddings: Tensor,
    layers: Sequence[Any],
    n_levels: int = 0,
) -> Tensor:
    """Indices of the tokens that stay, ascending, long `[k]`, on the device of the features.

    Args:
        features: what the vision tower makes of the picture, `[n, E (1 + n_levels)]`.
        text_embeddings: of `picture.ids`, `[S, E]`.
        layers: decoder layers of the engine.
        n_levels: features that are added behind the first layers (DeepStack), beside the input.

    Raises:
        ValueError: another number stays than was announced.
    """
    device, width = features.device, text_embeddings.shape[1]
    where = slice(picture.start, picture.start + picture.n_visual)
    levels = features.split(width, dim=1)
    embeddings = text_embeddings.clone()
    embeddings[where] = levels[0].to(embeddings)
    additions = {}
    for layer, level in enumerate(levels[1 : 1 + n_levels]):
        additions[layer] = torch.zeros_like(embeddings)
        additions[layer][where] = level.to(embeddings)
    stage, text = picture.plan.stage, picture.text
    tokens = picture.tokens.to(device)
    text = text.each(lambda mask: mask.to(device))
    positions = picture.positions.to(device)
    scouted = scout(layers, embeddings, positions, stage.layer, additions)
    given = InputSignals(embeddings[None], text, tokens, None, positions[:, None], no_norm)
    tokens = tokens.with_signals(ScoutSignals(scouted, text, given), stage.needs)
    chosen = checked_selection(stage, decision(stage.selector, tokens), tokens)
    kept = chosen.keep[0].nonzero().flatten()
    if len(kept) != (announced := picture.n_kept()):
        raise ValueError(
            f"the policy {picture.plan.name!r} announced {announced} tokens of a {picture.grid[0]} "
            f"x {picture.grid[1]} picture and kept {len(kept)}: its selector's `sizes` is wrong"
        )
    return kept
