"""Weights to begin with, from a checkpoint whose vocabulary may be smaller."""

from __future__ import annotations

from typing import Any

import torch

from ..models.checkpoint import locate
from ..models.registry import family_of


@torch.no_grad()
def take_weights(model: Any, tokenizer: Any, path: str) -> None:
    """Gives a model the weights of a checkpoint; words that this does not know keep their own.

    Args:
        model: of the architecture of the checkpoint.
        tokenizer: its own, which knows every word of the checkpoint's.
        path: "bundled:<name>", a folder, or a hub id.

    Raises:
        ValueError: the checkpoint is of another architecture, or knows other words.
    """
    checkpoint = locate(path, None)
    model_type = checkpoint.config().get("model_type")
    if model_type != model.config.model_type:
        raise ValueError(
            f"job.start={path!r} is of the type {model_type!r}, and the model to train of the type "
            f"{model.config.model_type!r}: choose the model=<name> of that architecture"
        )
    family, folder = family_of(model_type), checkpoint.fetch()
    given, _ = family.load_model(folder, dtype=torch.float32, attn_implementation="eager")
    old: Any = family.load_processor(folder)
    words = old.tokenizer.get_vocab()
    known = tokenizer.get_vocab()
    if foreign := sorted(set(words) - set(known)):
        raise ValueError(
            f"job.start={path!r} knows words that the model to train does not, such as "
            f"{foreign[0]!r}: choose a checkpoint that job=train_tiny wrote"
        )
    rows = torch.tensor([known[word] for word in words])
    weights, own = given.state_dict(), model.state_dict()
    for name, weight in weights.items():
        if weight.shape != own[name].shape:
            own[name][rows] = weight[list(words.values())]
            weights[name] = own[name]
    model.load_state_dict(weights)
