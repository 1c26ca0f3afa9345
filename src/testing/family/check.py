"""A family against a model, rule by rule: plugin authors call `check_family` in their tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from transformers import AutoModelForImageTextToText, PretrainedConfig, PreTrainedModel

from ...models.base import Family
from ...models.registry import family_named
from ..contract import ContractError
from ..shapes import line_of
from .attention import frequencies, projections, rows
from .exactness import exactness, vanilla
from .layout import layout, statements
from .subject import Builder, Subject, subject

FAMILY_RULES: Mapping[str, Callable[[Subject], str | None]] = {
    "statements": statements,
    "layout": layout,
    "frequencies": frequencies,
    "projections": projections,
    "attention rows": rows,
    "vanilla": vanilla,
    "exactness": exactness,
}
"""In the order in which they are tried: the first one that is broken is reported."""


def check_family(
    family: Family | type[Family] | str,
    model: PreTrainedModel | PretrainedConfig,
    processor: Any,
    *,
    build: Builder = AutoModelForImageTextToText.from_config,
) -> None:
    """Tries what a family says of a model against the model itself, offline and on a CPU.

    Of a configuration, for example that of a checkpoint, a shallow and narrow copy is made, with a
    few layers of each type, short windows and random weights in float32: the numbers that a family
    may get wrong stay. A model is taken as it is.

    Args:
        family: the family, its class, or the name of one that is known.
        model: a configuration, or a small model in float32.
        processor: of the model; it makes the inputs, by its chat template.
        build: makes the model of a configuration.

    Raises:
        ContractError: names the first rule that is broken, and how; an exception of the family or
            of the pruned model is its cause.

    Example:
        >>> check_family(MyFamily, AutoConfig.from_pretrained(folder), processor)
    """
    if isinstance(family, str):
        family = family_named(family)
    elif isinstance(family, type):
        family = family()
    on = subject(family, model, processor, build)
    for name, rule in FAMILY_RULES.items():
        try:
            with torch.no_grad():
                broken = rule(on)
        except Exception as error:
            raise ContractError(name, f"{type(error).__name__}: {error}{line_of(error)}") from error
        if broken is not None:
            raise ContractError(name, broken)
