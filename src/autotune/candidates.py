"""Methods at their layers, and what one of them is once it has a budget."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ..api import bind, layers_for
from ..budget import average_share
from ..configuration.build import build_policy, compose_with_policy
from ..models.base import Family
from ..models.loading import ModelSpec
from ..models.registry import family_named
from ..models.token_rules import TokenRule, token_rules, with_rule
from ..policy import BoundPolicy, PruningPolicy
from ..provenance.code import code_of, targets_in


@dataclass(frozen=True)
class Refusal:
    """What is not tried, and why.

    Attributes:
        nearest: the least of each cost that could be had in its place, by the target's names.
    """

    label: str
    reason: str
    nearest: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Candidate:
    """A policy to try.

    Attributes:
        method: its name before it was tuned.
        label: method, layers and share asked for.
        layers: of its stages.
        average_tokens: that it is brought to.
        config: of the policy, for a file.
        key: changes with the configuration and with the code of its parts.
    """

    method: str
    label: str
    layers: Mapping[str, int]
    average_tokens: float
    policy: PruningPolicy
    bound: BoundPolicy
    config: Mapping[str, Any]

    @cached_property
    def key(self) -> str:
        code = code_of(targets_in(dict(self.config)), modules=())
        content = json.dumps([{**self.config, "name": ""}, code], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Draft:
    """A method at given layers, its budget open.

    Attributes:
        config: of the policy.
        model: the model's configuration.
    """

    method: str
    config: DictConfig
    policy: PruningPolicy
    bound: BoundPolicy
    family: Family
    model: Any

    @classmethod
    def of(cls, method: str, config: DictConfig, family: Family, model: Any) -> Draft:
        """Raises ValueError where a stage does not fit the model."""
        policy = build_policy(OmegaConf.create({"policy": config}))
        return cls(method, config, policy, bind(policy, family, model), family, model)

    @property
    def label(self) -> str:
        at = [str(layer) for layer in self.bound.layers.values()]
        return f"{self.method}, layer{'s' * (len(at) > 1)} {', '.join(at)}"

    @property
    def depth(self) -> int:
        """Decoder layers of the model."""
        return int(self.model.get_text_config().num_hidden_layers)

    @cached_property
    def least_tokens(self) -> float:
        """Average tokens that no budget goes below: of the layers whose caches stay full."""
        bound = self.bound
        rules = token_rules(self.model.get_text_config(), self.family.token_rules)
        cached = with_rule(rules, TokenRule.CACHED, TokenRule.WINDOW)
        layers = list(bound.layers.values())
        nothing = [0.0] * len(layers)
        return average_share(nothing, layers, self.depth, bound.cache, bound.spare_layers, cached)

    def bound_to(self, average_tokens: float) -> BoundPolicy:
        """The policy for the model, brought to a share.

        Raises:
            ValueError: the share cannot be reached.
        """
        brought = replace(self.policy, average_tokens=average_tokens)
        return bind(brought, self.family, self.model)

    def candidate(self, average_tokens: float) -> Candidate:
        """Brought to a share.

        Raises:
            ValueError: the share cannot be reached.
        """
        plain: Any = OmegaConf.to_container(self.config, resolve=True)
        label = f"{self.label}, {100 * average_tokens:.3g} %"
        return Candidate(
            method=self.method,
            label=label,
            layers=self.bound.layers,
            average_tokens=average_tokens,
            policy=replace(self.policy, average_tokens=average_tokens, name=label),
            bound=self.bound_to(average_tokens),
            config=plain | {"average_tokens": average_tokens},
        )


def drafts_of(
    methods: Sequence[str], layers: Sequence[int] | None, spec: ModelSpec, ivc: bool = False
) -> tuple[list[Draft], list[Refusal]]:
    """Every method at every layer, and what the model does not allow.

    Args:
        methods: names of policies, or files. One of several stages is tried at its own layers.
        layers: 0-based; None = all where the method finds what it asks for.
        ivc: add the implicit visual coordinates to each, see `PruningPolicy.ivc`.

    Raises:
        ValueError: there is no policy of that name.
    """
    drafts: list[Draft] = []
    refused: list[Refusal] = []
    for method in dict.fromkeys(methods):
        settings = [f"family={spec.family}", *(["ivc=true"] if ivc else [])]
        config = compose_with_policy(method, settings).policy
        name = str(config.name)
        try:
            found = list(_at_layers(name, config, layers, spec))
        except ValueError as error:
            refused.append(Refusal(name, str(error)))
            continue
        drafts += [one for one in found if isinstance(one, Draft)]
        refused += [one for one in found if isinstance(one, Refusal)]
    return drafts, refused


def _at_layers(
    method: str, config: DictConfig, layers: Sequence[int] | None, spec: ModelSpec
) -> Iterator[Draft | Refusal]:
    family, model = family_named(spec.family), spec.config()
    policy = build_policy(OmegaConf.create({"policy": config}))
    if not policy.stages:
        raise ValueError("it prunes nothing")
    if policy.cache == "recomputed":
        raise ValueError("with cache 'recomputed' it costs more than it saves: it is for analysis")
    if len(policy.stages) > 1:
        yield Draft.of(method, config, family, model)
        return
    (stage,) = policy.stages
    for layer in layers_for(policy, stage, spec) if layers is None else sorted(set(layers)):
        moved = copy.deepcopy(config)
        moved.stages[stage].layer = layer
        try:
            yield Draft.of(method, moved, family, model)
        except ValueError as error:
            yield Refusal(f"{method}, layer {layer}", str(error))
