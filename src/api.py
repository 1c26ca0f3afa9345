"""The library: `prune` a loaded model, `load_policy` by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from torch import nn

from .configuration.build import compose_policy
from .models.base import Family
from .models.registry import family_named, family_of_model
from .models.token_rules import TokenRule, token_rules, with_rule
from .models.wrappers import unwrapped
from .placement import offering
from .policy import BoundPolicy, PruningPolicy
from .pruning.pruner import Pruner
from .pruning.shared_prefix import SharedPrefix
from .pruning.statistics import PrefillStatistics
from .tokens.signals import FROM_VISION_TOWER

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


def shared_prefix(model: nn.Module, policies: Sequence[PruningPolicy]) -> SharedPrefix:
    """Several policies on ONE batch: what they have in common is computed once.

    The vision tower runs once, and so do the decoder layers before the first at which policies
    part; each answers, keeps and caches exactly what it would alone.

    Args:
        model: as for `prune`.
        policies: in any order.

    Raises:
        ValueError: the model is not supported, or a policy does not fit it.

    Example:
        >>> policies = [load_policy(name, family="qwen2_5_vl") for name in ("none", "ivc_prune")]
        >>> shared = shared_prefix(model, policies)
        >>> for number in shared.order:
        ...     with shared.turn(number), prune(model, policies[number]) as run:
        ...         ids = model.generate(**inputs, max_new_tokens=64)
    """
    model = unwrapped(model)
    family = family_of_model(model)
    return SharedPrefix(model, family, [bind(policy, family, model.config) for policy in policies])


def bind(policy: PruningPolicy, family: Family, config: Any) -> BoundPolicy:
    """The policy for a model of that configuration: layers as numbers, budgets solved.

    Raises:
        ValueError: a stage does not fit the model, or the family does not cover it.
    """
    family.check(config)
    decoder = config.get_text_config()
    rules = token_rules(decoder, family.token_rules)
    if not policy.stages:
        return policy.bind(decoder.num_hidden_layers, 0, (), family.rotary_axes)
    if policy.positions == "reassign" and family.rotary_by_type:
        raise ValueError(
            f"PruningPolicy.positions is 'reassign', which is not offered for {family.name!r}: its "
            "layers have a rotary embedding for each of their types; use positions='keep'"
        )
    bound = policy.bind(
        depth=decoder.num_hidden_layers,
        default_layer=family.selection_layer(config),
        default_spare=family.spare_layers,
        rotary_axes=family.rotary_axes,
        cached=with_rule(rules, TokenRule.CACHED, TokenRule.WINDOW),
        readable=with_rule(rules, TokenRule.CACHED),
    )
    if bound.needs & FROM_VISION_TOWER:
        family.check_vision_tower()
    return bound


def resolve_layers(policy: PruningPolicy, spec: ModelSpec) -> dict[str, int]:
    """0-based layer of each stage in a model that need not be loaded.

    Raises:
        FileNotFoundError, ValueError: there is no such checkpoint, or a stage does not fit it.
    """
    return bind(policy, family_named(spec.family), spec.config()).layers


def readable_layers(family: Family, config: Any) -> list[int]:
    """The layers of a model whose attention and values selectors can ask for, ascending.

    Raises:
        ValueError: a layer is of a type that the family states no rule for.
    """
    return with_rule(token_rules(config.get_text_config(), family.token_rules), TokenRule.CACHED)


def layers_for(policy: PruningPolicy, stage: str, spec: ModelSpec) -> list[int]:
    """The layers of a model that need not be loaded where a stage has its signals, ascending.

    Raises:
        FileNotFoundError, ValueError: there is no such checkpoint, or its family does not cover it.
    """
    config = spec.config()
    depth = config.get_text_config().num_hidden_layers
    readable = readable_layers(family_named(spec.family), config)
    return offering(policy.stages[stage].selector, depth, readable)


def load_policy(
    name: str, *overrides: str, family: str | None = None, ivc: bool = False
) -> PruningPolicy:
    """A policy of `conf/policy/`, by name.

    Args:
        name: file name without ending, for example "ivc_prune"; or a file of your own in a folder
            called `policy`, for example one that `job=autotune` wrote, with its ending `.yaml`.
        overrides: as on the command line, without the leading `policy.`, for example
            "stages.select.layer=3" or "average_tokens=0.25".
        family: apply this model family's published settings where they differ.
        ivc: add the implicit visual coordinates at the policy's own budget, as `ivc=true` does on
            the command line.

    Raises:
        ValueError: unknown policy (the message lists them), or a bad override.
    """
    return _checked(compose_policy(name, overrides, family, ivc))


def _checked(policy: Any) -> PruningPolicy:
    if not isinstance(policy, PruningPolicy):
        raise TypeError(f"the policy's _target_ made a {type(policy).__name__}, not a policy")
    return policy
