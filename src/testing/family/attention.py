"""Rules about what a family says of attention: rotation, projections, rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...models.base import Family
from ...models.rotary import Rotary, rotate, rotate_pairs
from ...models.token_rules import TokenRule, with_rule
from ...policy import PruningPolicy, Stage
from ...selectors import Selector
from ...tokens import Signal, VisualTokens
from ...tokens.signals import AttentionLayer
from .recorded import RecordedLayer, recorded_layers
from .subject import Subject

TOLERANCE = 1e-4
_TURNS = {
    "halves (models.rotary.rotate)": rotate,
    "pairs (models.rotary.rotate_pairs)": rotate_pairs,
}


def frequencies(subject: Subject) -> str | None:
    """`inverse_frequencies` and `frequency_axis` make the angles that the model turns with."""
    inputs = subject.inputs["one sample"]
    tokens = subject.tokens(inputs)
    layer = next(iter(_readable(subject, inputs).values()))
    turned = tokens.positions[tokens.frequency_axis].float().movedim(0, -1)  # [R, N, d / 2]
    cos = (turned * tokens.inv_freq).cos()
    own = _cosine(layer.rotary)[tokens.sample[:, None], tokens.index]
    n = cos.shape[-1]
    forms = [form for form in (own[..., :n], own[..., ::2]) if form.shape == cos.shape]
    if not forms:
        return f"`inverse_frequencies` are {n}, and the model turns {own.shape[-1]} dimensions"
    wrong = min(((form - cos).abs().amax(dim=(0, 1)) for form in forms), key=lambda x: x.max())
    if not wrong.max() < TOLERANCE:
        which = (wrong >= TOLERANCE).nonzero()[:, 0].tolist()
        return (
            f"{len(which)} of {n} frequencies (the first is {which[0]}, on axis "
            f"{int(tokens.frequency_axis[which[0]])}) turn visual tokens otherwise than the model: "
            "see `inverse_frequencies`, `frequency_axis` and `rotary_axes`"
        )
    return None


def _cosine(rotary: Rotary) -> Tensor:
    """The cosine of a rotary embedding `[B, S, d]`, without a scale of attention."""
    if isinstance(rotary, Tensor):
        return (rotary / rotary.abs()).real
    cos, sin = rotary
    return cos / (cos**2 + sin**2).sqrt()


def projections(subject: Subject) -> str | None:
    """`keys` and `values` of a layer's input are what the layer caches."""
    family = subject.family
    inputs = subject.inputs["a ragged batch"]
    real = inputs["attention_mask"].bool()[:, None, :, None]
    for number, layer in _readable(subject, inputs).items():
        found = _projected(family, layer)
        for name, ours in found.items():
            theirs = getattr(family, f"cached_{name}")(layer.module, layer.keys, layer.values)
            if ours.shape != theirs.shape:
                shapes = f"{tuple(ours.shape)}, and the layer caches {tuple(theirs.shape)}"
                return f"`{name}` of {subject.kind(number)} have the shape {shapes}"
            if not (difference := _largest(ours, theirs, real)) < TOLERANCE:
                return (
                    f"`{name}` of {subject.kind(number)} differ by {difference:.1e} from what the "
                    f"layer caches: see its norms and projections{_turn(family, layer, name, real)}"
                )
    return None


def _projected(family: Family, layer: RecordedLayer) -> dict[str, Tensor]:
    with torch.no_grad():
        return {
            "values": family.values(layer.module, layer.hidden),
            "keys": family.keys(layer.module, layer.hidden, layer.rotary),
        }


def _turn(family: Family, layer: RecordedLayer, name: str, real: Tensor) -> str:
    """A hint where turning the keys in another way would be right."""
    for what, turn in _TURNS.items() if name == "keys" else ():
        other = type(
            family.name, (type(family),), {"rotate": lambda _, __, x, r, t=turn: t(x, r)}
        )()
        theirs = other.cached_keys(layer.module, layer.keys, layer.values)
        if _largest(_projected(other, layer)["keys"], theirs, real) < TOLERANCE:
            return f"; the model turns {what}, so `rotate` is wrong"
    return ""


def _largest(ours: Tensor, theirs: Tensor, real: Tensor) -> float:
    return float(((ours - theirs) * real).abs().max())


@dataclass(frozen=True, eq=False)
class _Rows(Selector):
    """Keeps everything, and writes down the last token's attention."""

    layer: AttentionLayer
    found: list[tuple[VisualTokens, Tensor]]

    @property
    def needs(self) -> frozenset[Signal]:  # type: ignore[override]
        previous = self.layer == "previous"
        return frozenset({Signal.ATTENTION_PREVIOUS if previous else Signal.ATTENTION_NEXT})

    def select(self, tokens: VisualTokens) -> Tensor:
        self.found.append((tokens, tokens.attention("last", layer=self.layer)))
        return tokens.valid


def rows(subject: Subject) -> str | None:
    """Attention rows that selectors get are the eager model's own weights."""
    own = subject.model.config._attn_implementation
    subject.model.set_attn_implementation("eager")
    try:
        for inputs in subject.inputs.values():
            layers = _readable(subject, inputs)
            for number, layer in layers.items():
                if wrong := _rows_of(subject, inputs, number, layer):
                    return wrong
    finally:
        subject.model.set_attn_implementation(own)
    return None


def _rows_of(
    subject: Subject, inputs: Mapping[str, Any], number: int, layer: RecordedLayer
) -> str | None:
    stages: list[tuple[AttentionLayer, int]] = [("next", number), ("previous", number + 1)]
    for side, at in stages:
        if at == subject.depth:
            continue
        found: list[tuple[VisualTokens, Tensor]] = []
        policy = PruningPolicy({"look": Stage(at, _Rows(side, found))})
        with torch.no_grad(), subject.pruner(policy):
            subject.model(**inputs)
        tokens, ours = found[0]
        if layer.weights is None:
            return f"no module of {subject.kind(number)} returns weights: use eager attention"
        weights = layer.weights.mean(dim=1)[:, -1]
        theirs = weights[tokens.sample[:, None], tokens.slot]
        difference = (ours[:, 0] - theirs).masked_fill(~tokens.valid, 0).abs().max()
        if not difference < TOLERANCE:
            return (
                f"the last token's attention in {subject.kind(number)}, asked for as the {side} "
                f"layer, differs by {float(difference):.1e} from the eager model's own weights: "
                "see `queries`, its norm, its gate and its rotation (keys and values are right)"
            )
    return None


def _readable(subject: Subject, inputs: Mapping[str, Any]) -> dict[int, RecordedLayer]:
    """The layers that selectors may ask for attention, as they ran on inputs."""
    layers = recorded_layers(subject.family, subject.model, inputs)
    return {i: layers[i] for i in with_rule(subject.rules, TokenRule.CACHED)}
