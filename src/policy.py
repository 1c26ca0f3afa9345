"""WHEN and WHERE to prune: named stages, the caches they reach, and the position rule."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal, get_args

from .budget import share_for_average
from .checks import check_choice, check_share, setting
from .placement import placed
from .selectors.base import Selector, signals_of
from .selectors.with_coordinates import with_coordinates
from .tokens.signals import FROM_PREVIOUS_LAYER, Signal

CacheScope = Literal["all_layers", "from_stage", "recomputed"]
PositionRule = Literal["keep", "reassign"]

_OF_DEPTH = re.compile(r"(\d+) of (\d+)")
_OF_DEFAULT = re.compile(r"(\d+)/([1-9]\d*) of default")


@dataclass(frozen=True)
class Stage:
    """One selection at the ENTRY of a decoder layer.

    Attributes:
        layer: 0-based decoder layer; 0 is before the language model; None is the family's default.
            "2 of 27" is layer 2 as written for models of at least 27 layers; in a shallower model
            it scales with the depth. "1/8 of default" is a share of the family's default, cut to an
            integer: a stage that has to come before the default one in any model. All but a plain
            number move on to the next layer that has the signals which the selector asks for: in
            hybrid models not every layer has attention.
        selector: what stays.
    """

    layer: int | str | None
    selector: Selector

    def __post_init__(self) -> None:
        if not isinstance(self.selector, Selector):
            raise TypeError(f"Stage.selector is {self.selector!r}: it must be a Selector")
        forms = (_OF_DEPTH, _OF_DEFAULT)
        if isinstance(self.layer, str) and not any(form.fullmatch(self.layer) for form in forms):
            raise ValueError(
                f"Stage.layer is {self.layer!r}: it must be a layer number, "
                "'LAYER of DEPTH' (for example '2 of 27'), a share of the model family's default "
                "('1/8 of default') or null for that default"
            )
        if isinstance(self.layer, int) and self.layer < 0:
            raise ValueError(f"Stage.layer is {self.layer}: it must be 0 or more")

    def resolve(self, depth: int, default: int) -> int:
        """The 0-based layer in a model of `depth` decoder layers."""
        if self.layer is None:
            return default
        if isinstance(self.layer, int):
            return self.layer
        if share := _OF_DEFAULT.fullmatch(self.layer):
            return default * int(share[1]) // int(share[2])
        layer, written_for = map(int, self.layer.split(" of "))
        if depth >= written_for or layer == 0:
            return layer
        return min(max(1, round(layer * depth / written_for)), depth - 1)


@dataclass(frozen=True)
class PruningPolicy:
    """A pruning method: what is selected where, and which caches lose the dropped tokens.

    Attributes:
        stages: by name; they act in the order of their layers. None at all: vanilla.
        cache: "all_layers" also drops the tokens from the caches of the layers before a stage
            (IVC-Prune's single selection); "from_stage" only from the stage on (FastV, PDrop);
            "recomputed" runs the layers before the (only) stage again on the survivors alone, as if
            the others had never been in the input: for analysis, since it costs more than it saves.
        spare_layers: layers below the stage whose cache stays full; None: the family's default.
        positions: survivors "keep" their original position ids, or "reassign" gives them and all
            that follows contiguous ones (models with one rotary axis, cache "from_stage").
        name: how results call it.
        average_tokens: where set, the stages' budgets are scaled so that the average of visual
            tokens over all layers' caches is this share; the way to compare methods at equal cost.
        ivc: the implicit visual coordinates are added to the selector of every stage, at the same
            budget, see `WithCoordinates`.
    """

    stages: Mapping[str, Stage] = field(default_factory=dict)
    cache: CacheScope = "all_layers"
    spare_layers: tuple[int, ...] | None = ()
    positions: PositionRule = "keep"
    name: str = "custom"
    average_tokens: float | None = None
    ivc: bool = False

    def __post_init__(self) -> None:
        check_choice(setting(self, "cache"), self.cache, get_args(CacheScope))
        check_choice(setting(self, "positions"), self.positions, get_args(PositionRule))
        if self.positions == "reassign" and self.cache != "from_stage":
            raise ValueError(
                f"PruningPolicy.positions is 'reassign' with cache {self.cache!r}: early layers "
                "have cached keys at the original positions, so use cache='from_stage' or 'keep'"
            )
        if self.cache == "recomputed" and len(self.stages) > 1:
            raise ValueError(
                f"PruningPolicy.cache is 'recomputed' with the {len(self.stages)} stages "
                f"{', '.join(self.stages)}: only a single selection can be made at the input"
            )
        if self.average_tokens is not None:
            check_share(setting(self, "average_tokens"), self.average_tokens)
        object.__setattr__(self, "stages", dict(self.stages))
        if self.ivc:
            self._with_coordinates()  # or a refusal, early
        if self.spare_layers is not None:
            object.__setattr__(self, "spare_layers", tuple(self.spare_layers))

    def _with_coordinates(self) -> dict[str, Stage]:
        """The stages, the coordinates added.

        Raises:
            ValueError: nothing is pruned, positions are numbered anew, or a stage has no room.
        """
        if not self.stages:
            raise ValueError(
                f"ivc=true adds coordinates to what a policy keeps, but {self.name!r} prunes "
                "nothing: choose another policy, or leave it out"
            )
        if self.positions == "reassign":
            raise ValueError(
                "PruningPolicy.positions is 'reassign' with ivc: coordinates are coordinates at "
                "their own positions only, so use positions='keep'"
            )
        stages = {}
        for name, stage in self.stages.items():
            try:
                stages[name] = replace(stage, selector=with_coordinates(stage.selector))
            except ValueError as error:
                raise ValueError(f"stages.{name} of {self.name!r}: {error}") from error
        return stages

    def bind(
        self,
        depth: int,
        default_layer: int,
        default_spare: tuple[int, ...],
        rotary_axes: int,
        cached: Sequence[int] | None = None,
        readable: Collection[int] | None = None,
    ) -> BoundPolicy:
        """Resolve layers and budgets for a model, and check that every stage can run there.

        Args:
            depth: number of decoder layers.
            default_layer, default_spare, rotary_axes: of the model's family.
            cached: layers that have a cache of tokens; None for all.
            readable: layers whose attention and values selectors can ask for; None for all.

        Raises:
            ValueError: naming the stage, the value, what is allowed and the fix.
        """
        offered = range(depth) if readable is None else readable
        own = self._with_coordinates() if self.ivc else self.stages
        layers = {
            name: placed(name, stage, stage.resolve(depth, default_layer), depth, offered)
            for name, stage in own.items()
        }
        names = sorted(layers, key=lambda name: layers[name])
        stages = tuple(BoundStage(n, layers[n], own[n].selector) for n in names)
        spare = default_spare if self.spare_layers is None else self.spare_layers
        if self.cache == "recomputed":
            spare = ()
        self._check(stages, depth, spare, rotary_axes)
        if self.average_tokens is not None and stages:
            stages = self._rescale(stages, self.average_tokens, depth, spare, cached)
        return BoundPolicy(self.name, stages, self.cache, frozenset(spare), self.positions)

    def _check(
        self, stages: tuple[BoundStage, ...], depth: int, spare: tuple[int, ...], axes: int
    ) -> None:
        taken: dict[int, str] = {}
        for stage in stages:
            if stage.layer >= depth:
                raise ValueError(
                    f"stages.{stage.name}.layer is {stage.layer}, but the model has {depth} "
                    f"decoder layers: choose 0 to {depth - 1}"
                )
            if stage.layer in taken:
                raise ValueError(
                    f"stages.{stage.name}.layer is {stage.layer}, the layer of stage "
                    f"'{taken[stage.layer]}': give each stage its own layer"
                )
            taken[stage.layer] = stage.name
            if stage.layer == 0 and (early := stage.needs & FROM_PREVIOUS_LAYER):
                raise ValueError(
                    f"stages.{stage.name}.layer is 0, but its selector needs "
                    f"{', '.join(sorted(early))} of a previous layer: choose a layer from 1 on"
                )
        if beyond := [layer for layer in spare if not 0 <= layer < depth]:
            raise ValueError(
                f"PruningPolicy.spare_layers holds {beyond}, but the model's layers are "
                f"0 to {depth - 1}"
            )
        if self.positions == "reassign" and axes != 1:
            raise ValueError(
                f"PruningPolicy.positions is 'reassign', which is not defined for this model's "
                f"{axes} rotary axes: use positions='keep'"
            )

    def _rescale(
        self,
        stages: tuple[BoundStage, ...],
        target: float,
        depth: int,
        spare: tuple[int, ...],
        cached: Sequence[int] | None,
    ) -> tuple[BoundStage, ...]:
        shares = shares_of_input(stages)
        if len(stages) > 1 and None in shares:
            missing = [s.name for s, share in zip(stages, shares, strict=True) if share is None]
            raise ValueError(
                f"average_tokens={target} cannot scale stages {', '.join(missing)}: "
                "their budgets are not shares of the tokens"
            )
        nominal = [share or 1.0 for share in shares] if len(stages) > 1 else [1.0]
        layers = [stage.layer for stage in stages]
        scaled = share_for_average(target, nominal, layers, depth, self.cache, spare, cached)
        return tuple(
            replace(stage, selector=stage.selector.with_keep(share))
            for stage, share in zip(stages, scaled, strict=True)
        )


@dataclass(frozen=True)
class BoundStage:
    """A stage of a given model: its layer is a number."""

    name: str
    layer: int
    selector: Selector

    @cached_property
    def needs(self) -> frozenset[Signal]:
        return signals_of(self.selector)


def shares_of_input(stages: Sequence[BoundStage]) -> list[float | None]:
    """Share of the original tokens that each stage leaves; None where its budget is no share."""
    shares: list[float | None] = []
    left = 1.0
    for stage in stages:
        shares.append(stage.selector.share_after(left))
        left = shares[-1] or left
    return shares


@dataclass(frozen=True)
class BoundPolicy:
    """A policy of a given model; `stages` in the order of their layers."""

    name: str
    stages: tuple[BoundStage, ...]
    cache: CacheScope
    spare_layers: frozenset[int]
    positions: PositionRule

    @property
    def needs(self) -> frozenset[Signal]:
        """Signals that any stage asks for."""
        return frozenset[Signal]().union(*(stage.needs for stage in self.stages))

    @property
    def layers(self) -> dict[str, int]:
        """Layer of each stage by name."""
        return {stage.name: stage.layer for stage in self.stages}

    def reaches(self, stage: BoundStage, layer: int) -> bool:
        """Whether a stage also drops its tokens from the cache of this EARLIER layer."""
        return self.cache == "all_layers" and layer < stage.layer and layer not in self.spare_layers
