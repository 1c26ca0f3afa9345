"""Values of the root configuration that can be checked at once, before PyTorch is imported."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from omegaconf import DictConfig, OmegaConf

from ..checks import check_at_least, check_choice, check_share
from ..models.attention_names import ATTENTIONS
from .waiting import SWEEPS

Check = Callable[[str, object], None]

LARGEST_SEED = 2**32 - 1
"""That NumPy takes, and so Lightning."""


def _whole(least: int) -> Check:
    return partial(_at_least, least=least)


def _at_least(name: str, value: object, least: int) -> None:
    check_at_least(name, value, least)


def _seed(name: str, value: object) -> None:
    check_at_least(name, value, 0)
    if isinstance(value, int) and value > LARGEST_SEED:
        raise ValueError(f"{name} is {value}: it must be at most {LARGEST_SEED}")


def _flag(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise ValueError(f"{name} is {value!r}: it must be true or false")


def _sweep(name: str, value: object) -> None:
    check_choice(name, value, SWEEPS)


def _attention(name: str, value: object) -> None:
    check_choice(name, value, ATTENTIONS)


NEEDED: dict[str, Check] = {
    "seed": _seed,
    "batch_size": _whole(1),
    "num_workers": _whole(0),
    "overlays": _whole(0),
    "attention": _attention,
    "ivc": _flag,
    "sweep": _sweep,
}
OPTIONAL: dict[str, Check] = {
    "threads": _whole(1),
    "data.limit": _whole(1),
    "data.subset_seed": _whole(0),
    "policy.average_tokens": check_share,
    "policy.ivc": _flag,
    "model.max_new_tokens": _whole(1),
    "model.selection_layer": _whole(0),
}
"""Null, which these may be, leaves the choice to somebody else."""


def check_settings(cfg: DictConfig) -> None:
    """Checks what every job has; components check the rest when they are made.

    Raises:
        ValueError: naming the setting, its value and what is allowed.
    """
    for name, check in (NEEDED | OPTIONAL).items():
        value = OmegaConf.select(cfg, name)
        if value is not None:
            check(name, value)
        elif name in NEEDED and name in cfg:
            raise ValueError(f"{name} is null: give it a value, or leave it out for its default")
