"""What several policies have in common on one batch, computed once: pictures and first layers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn
from transformers.cache_utils import DynamicLayer

from ..models.base import Family
from ..models.token_rules import TokenRule, token_rules
from ..policy import BoundPolicy
from ..tokens.signals import FROM_VISION_TOWER
from .caches.names import given_cache
from .hooks import Override
from .shared_features import SharedFeatures


@dataclass(frozen=True)
class Fork:
    """Where a policy parts from vanilla.

    Attributes:
        layer: the first decoder layer that it has to run itself; those before it do what they do
            under every policy that parts later.
        own_tower: it looks into the vision tower, which must run for it.
    """

    layer: int
    own_tower: bool = False

    @classmethod
    def of(cls, policy: BoundPolicy, depth: int) -> Fork:
        """The fork of a policy in a model of `depth` layers; vanilla's is behind the last one.

        With cache "recomputed" the first layers run a second time, on other tokens.
        """
        own_tower = bool(policy.needs & FROM_VISION_TOWER)
        if policy.cache == "recomputed" and policy.stages:
            return cls(0, own_tower)
        return cls(min([depth, *policy.layers.values()]), own_tower)

    @property
    def outputs(self) -> frozenset[int]:
        """The layers whose outputs it goes on from.

        The second last is what the last shared layer was given, which some signals project anew.
        """
        return frozenset(range(max(0, self.layer - 2), self.layer))


class Trunk:
    """The prefill of the first layers, as long as somebody goes on from it.

    Attributes:
        states: what the cache of each layer held when it had run, by attribute.
        outputs: of some layers, `[B, S, E]`, by layer.
        whole: whether all layers could be recorded.
    """

    def __init__(self) -> None:
        self.states: list[dict[str, Any]] = []
        self.outputs: dict[int, Tensor] = {}
        self.whole = True

    def serves(self, fork: Fork) -> bool:
        """Whether it holds all that a policy goes on from."""
        return len(self.states) >= fork.layer and fork.outputs <= self.outputs.keys()

    def record(self, index: int, cache: Any, output: Tensor, wanted: bool) -> None:
        """Keep what a layer has just computed; the tensors are shared, not copied."""
        layers = [] if cache is None else cache.layers
        layer = layers[index] if index < len(layers) else None
        # others write into what they hold
        self.whole = self.whole and type(layer) is DynamicLayer and index == len(self.states)
        if not self.whole:
            return
        self.states.append(dict(vars(layer)))
        if wanted:
            self.outputs[index] = output

    def replay(self, index: int, cache: Any, hidden: Tensor) -> Tensor:
        """Do to the cache what the layer would do; its output, or `hidden` where nobody looks.

        Raises:
            RuntimeError: it is not the batch that was recorded.
        """
        state = self.states[index]
        if state["keys"].shape[0] != hidden.shape[0] or state["keys"].shape[2] != hidden.shape[1]:
            raise RuntimeError(
                f"a shared prefix of {tuple(state['keys'].shape)} keys was met by a prompt of "
                f"{tuple(hidden.shape)}: give every policy the same batch, and each batch a shared "
                "prefix of its own"
            )
        cache.layers.extend(DynamicLayer() for _ in range(len(cache.layers), index + 1))
        vars(cache.layers[index]).update(state)
        return self.outputs.get(index, hidden)

    def shorten(self, forks: Iterable[Fork]) -> None:
        """Let go of what none of these policies goes on from."""
        left = list(forks)
        del self.states[max((fork.layer for fork in left), default=0) :]
        wanted = frozenset[int]().union(*(fork.outputs for fork in left))
        self.outputs = {i: output for i, output in self.outputs.items() if i in wanted}


class SharedPrefix:
    """One batch under several policies, which take turns on one model.

    Within a turn the model's decoder layers are replaced up to the layer where the policy parts
    from those before it: their caches get the tensors that were computed then. Nothing writes into
    these tensors, since a dynamic cache grows by concatenation and a stage gathers what stays.

    Attributes:
        obstacle: why no layers can be shared, or None; pictures are shared all the same.
        order: numbers of the policies, those that part last first: they compute what the others
            go on from.
    """

    def __init__(self, model: nn.Module, family: Family, policies: Sequence[BoundPolicy]) -> None:
        self._layers = family.layers(model)
        self._features = SharedFeatures(family.core(model))
        self._trunk = Trunk()
        self.obstacle = obstacle(family, model.config)
        depth = 0 if self.obstacle else len(self._layers)
        self._forks = [Fork.of(policy, depth) for policy in policies]
        self.order = sorted(range(len(policies)), key=lambda number: -self._forks[number].layer)
        self._waiting = set(self.order)
        self._pending: set[int] = set()
        self._shares = len(policies) > 1

    @contextmanager
    def turn(self, number: int) -> Iterator[None]:
        """Inside, the first call of `generate` or of the model is that of this policy's prefill.

        Args:
            number: of the policy among those given; each has one turn.
        """
        fork = self._forks[number]
        self._waiting.discard(number)
        with ExitStack() as block:
            if self._shares and not fork.own_tower:
                self._features.share(block, keep=bool(self._waiting))
            if self._shares:
                self._share_layers(block, fork)
            yield
        self._trunk.shorten(self._following())

    def stop(self) -> None:
        """Let go of all tensors, and share nothing from now on: memory does not suffice."""
        self._trunk, self._shares = Trunk(), False
        self._features.forget()

    def _following(self) -> list[Fork]:
        return [self._forks[number] for number in self._waiting]

    def _share_layers(self, block: ExitStack, fork: Fork) -> None:
        walk, depth = self._replay, fork.layer
        if not self._trunk.serves(fork):
            self._trunk = Trunk()
            walk = self._record
            depth = min(depth, max((other.layer for other in self._following()), default=0))
        self._pending = set(range(depth))
        for index, layer in enumerate(self._layers[:depth]):
            block.callback(Override(layer, "forward", partial(walk, index)).remove)

    def _record(self, index: int, original: Any, *args: Any, **kwargs: Any) -> Any:
        output = original(*args, **kwargs)
        if index in self._pending:
            self._pending.discard(index)
            wanted = any(index in fork.outputs for fork in self._following())
            self._trunk.record(index, given_cache(kwargs), output, wanted)
        return output

    def _replay(self, index: int, original: Any, hidden: Tensor, *args: Any, **kwargs: Any) -> Any:
        if index not in self._pending:
            return original(hidden, *args, **kwargs)
        self._pending.discard(index)
        return self._trunk.replay(index, given_cache(kwargs), hidden)


def obstacle(family: Family, config: Any) -> str | None:
    """Why policies cannot share the first layers of a model, or None where they can.

    States and windows are written in place, and a policy makes its own of them before layer 0.
    """
    rules = token_rules(config.get_text_config(), family.token_rules)
    others = [index for index, rule in enumerate(rules) if rule is not TokenRule.CACHED]
    if not others and not family.own_masks:
        return None
    return (
        f"{len(others)} of the {len(rules)} decoder layers of {config.model_type} keep a state or "
        "a window, which is written in place"
    )
