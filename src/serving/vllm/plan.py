"""Which policies a server can apply, and what to use instead of the others."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ...models.base import Family
from ...models.registry import family_of
from ...policy import BoundPolicy, BoundStage
from ...selectors.adaptive import VaryingTopUp
from ...selectors.base import Selector, children
from ...selectors.merging import MergeDropped
from ...selectors.patterns import AnnotatedSelector
from ...selectors.recycling import Recycle
from ...tokens.signals import FROM_VISION_TOWER, Signal
from .settings import Settings

SERVED = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
"""Families whose positions a server can keep: they travel with the embeddings."""

FROM_PROMPT = frozenset(Signal) - FROM_VISION_TOWER - {Signal.EMBEDDINGS, Signal.HIDDEN}
"""Signals that the question has a part in, at the input already."""

INSTEAD = "use an input policy (divprune), or a prompt-aware one with a scout pass: set `layer`"


@dataclass(frozen=True)
class Plan:
    """One selection, made before the language model sees a picture.

    Attributes:
        name: of the policy, in logs and figures.
        family: of the model.
        stage: the selection; its layer is where the scout pass ends, 0 for none.
        depth: decoder layers of the model.
    """

    name: str
    family: Family
    stage: BoundStage
    depth: int

    @property
    def reads_prompt(self) -> bool:
        """Whether the question changes what is kept, and not only where the picture stands."""
        return self.stage.layer > 0 or bool(self.stage.needs & FROM_PROMPT)

    def in_words(self) -> str:
        scout = self.stage.layer / self.depth
        where = f"a scout pass through {self.stage.layer} of {self.depth} layers, "
        return (
            f"policy {self.name}: {where if scout else ''}then pictures are pruned at the input; "
            f"prefill costs about the kept share{f' + {scout:.2f}' if scout else ''}"
        )


def plan_of(config: Any) -> Plan | None:
    """What the settings in a model's configuration come to; None without settings or stages.

    Args:
        config: of the whole model, as transformers has it.

    Raises:
        ValueError: a server cannot do that; says why, and what it can.
    """
    settings = Settings.of(config)
    if settings is None:
        return None
    family = family_of(config.model_type)
    if family.name not in SERVED:
        raise ValueError(
            f"the family {family.name!r} cannot be served pruned: vLLM counts the positions of its "
            "tokens itself, so that of a picture with gaps they would be wrong, and with them the "
            f"answers; families that can be: {', '.join(SERVED)}"
        )
    text = config.get_text_config()
    default = family.selection_layer(config)
    return _plan(settings, family, text.num_hidden_layers, default)


@lru_cache(maxsize=16)  # asked for with every request; composing takes a third of a second
def _plan(settings: Settings, family: Family, depth: int, default_layer: int) -> Plan | None:
    policy = settings.load(family.name)
    bound = policy.bind(depth, default_layer, family.spare_layers, family.rotary_axes)
    if not bound.stages:
        return None
    _check(bound, settings)
    return Plan(bound.name, family, bound.stages[0], depth)


def _check(bound: BoundPolicy, settings: Settings) -> None:
    """Raises ValueError for what cannot be done at the input of an engine."""
    if len(bound.stages) > 1:
        raise ValueError(
            f"the policy {bound.name!r} prunes in {len(bound.stages)} stages, and an engine's "
            f"cache has one length for all layers: {INSTEAD}"
        )
    stage = bound.stages[0]
    if stage.layer > 0 and bound.cache != "recomputed":
        raise ValueError(
            f"the policy {bound.name!r} prunes at layer {stage.layer} with cache "
            f"{bound.cache!r}, and an engine's cache cannot lose tokens midway: add "
            f'"layer": {stage.layer} to select after a scout pass and prune at the input (cache '
            "'recomputed', another method than the published one), or use divprune"
        )
    if tower := stage.needs & FROM_VISION_TOWER:
        raise ValueError(
            f"the policy {bound.name!r} reads {', '.join(sorted(tower))}, which an engine's vision "
            f"tower does not give: {INSTEAD}"
        )
    if odd := _first_of(stage.selector, (MergeDropped, Recycle)):
        raise ValueError(
            f"the policy {bound.name!r} merges or adds tokens ({type(odd).__name__}), and a "
            f"picture at the input of an engine can only lose some: {INSTEAD}"
        )
    if _first_of(stage.selector, (AnnotatedSelector,)):
        raise ValueError(
            f"the policy {bound.name!r} keeps what is annotated, and requests are not: {INSTEAD}"
        )
    if _first_of(stage.selector, (VaryingTopUp,)):
        raise ValueError(
            f"the policy {bound.name!r} decides how many tokens stay by the picture, and an "
            f"engine must know the number before it runs: {INSTEAD}"
        )


def _first_of(selector: Selector, kinds: tuple[type[Selector], ...]) -> Selector | None:
    """A selector of these kinds, at any depth of a composition."""
    if isinstance(selector, kinds):
        return selector
    inner = (_first_of(child, kinds) for child in children(selector))
    return next((found for found in inner if found is not None), None)
