"""The library: `prune` a loaded model, `load_policy` by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import nn

from .configuration.build import compose_policy
from .models.base import Family
from .models.registry import family_named, family_of_model
from .models.wrappers import unwrapped
from .policy import BoundPolicy, PruningPolicy
from .pruning.kv_cache import check_caches
from .pruning.pruner import Pruner
from .pruning.statistics import PrefillStatistics

if TYPE_CHECKING:
    from .models.loading import ModelSpec


def prune(
    model: nn.Module,
    policy: PruningPolicy | str,
    on_prefill: Callable[[PrefillStatistics], object] | None = None,
) -> Pruner:
    """Prune visual tokens of a loaded transformers model inside a `with` block.

    The model itself is not changed: hooks act inside the block and are gone after it.

    Args:
        model: any supported vision-language model, unmodified; compiled, adapted by PEFT or wrapped
            by DDP or FSDP as well. Inside the block compiled code runs as it is written.
        policy: a policy, or the name of one (see `ivcprune job=list`).
        on_prefill: called with the statistics of each prefill in the block, where others call
            `generate` and `run.stats` would tell of the last one only.

    Raises:
        ValueError: the model is not supported, or a stage does not fit it; before anything runs.

    Example:
        >>> with prune(model, "ivc_prune") as run:
        ...     ids = model.generate(**inputs, max_new_tokens=64)
        >>> run.stats.average_tokens
        0.5
    """
    model = unwrapped(model)
    family = family_of_model(model)
    if isinstance(policy, str):
        policy = load_policy(policy, family=family.name)
    return Pruner(model, family, bind(policy, family, model.config), on_prefill)


def bind(policy: PruningPolicy, family: Family, config: Any) -> BoundPolicy:
    """The policy for a model of that configuration: layers as numbers, budgets solved.

    Raises:
        ValueError: a stage does not fit the model, or the family does not cover it.
    """
    family.check(config)
    decoder = config.get_text_config()
    if policy.stages:
        check_caches(decoder)
    return policy.bind(
        depth=decoder.num_hidden_layers,
        default_layer=family.selection_layer(config),
        default_spare=family.spare_layers,
        rotary_axes=family.rotary_axes,
    )


def resolve_layers(policy: PruningPolicy, spec: ModelSpec) -> dict[str, int]:
    """0-based layer of each stage in a model that need not be loaded.

    Raises:
        FileNotFoundError, ValueError: there is no such checkpoint, or a stage does not fit it.
    """
    return bind(policy, family_named(spec.family), spec.config()).layers


def load_policy(name: str, *overrides: str, family: str | None = None) -> PruningPolicy:
    """A policy of `conf/policy/`, by name.

    Args:
        name: file name without ending, for example "ivc_prune".
        overrides: as on the command line, without the leading `policy.`, for example
            "stages.select.layer=3" or "average_tokens=0.25".
        family: apply this model family's published settings where they differ.

    Raises:
        ValueError: unknown policy (the message lists them), or a bad override.
    """
    return _checked(compose_policy(name, overrides, family))


def _checked(policy: Any) -> PruningPolicy:
    if not isinstance(policy, PruningPolicy):
        raise TypeError(f"the policy's _target_ made a {type(policy).__name__}, not a policy")
    return policy
