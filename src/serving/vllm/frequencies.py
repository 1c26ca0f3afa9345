"""Rotary frequencies of a model from its configuration alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForImageTextToText

from .plan import Plan


def frequencies_of(config: Any, plan: Plan | None) -> tuple[Tensor, Tensor]:
    """Frequencies `[d / 2]` and the rotary axis of each, as transformers' own model has them."""
    assert plan is not None
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
    inv_freq = plan.family.inverse_frequencies(model)
    return inv_freq, plan.family.frequency_axis(model, len(inv_freq))
