"""FLOPs of each decoder layer as a function of its tokens, from one prefill."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from ..models.registry import family_of_model
from .clocks import FlopClock, Flops, flop_counter
from .measure import countable, generate


@dataclass(frozen=True)
class LayerFlops:
    """F(S) = `linear` S + `square` S², see docs/performance.md.

    Attributes:
        linear: of projections and MLP, for a token.
        square: of attention, for a pair of tokens; all pairs count, as PyTorch's counter has it.
    """

    linear: float
    square: float

    def of(self, tokens: float) -> float:
        """FLOPs on so many tokens."""
        return self.linear * tokens + self.square * tokens**2


def layer_flops(model: Any, inputs: Mapping[str, Any]) -> list[LayerFlops]:
    """Counts the layers of an unpruned prefill by PyTorch's counter.

    Eager attention, whose products are no kernel of their own, counts as linear: use SDPA.

    Args:
        inputs: of one sample, without padding, on the model's device.
    """
    layers = family_of_model(model).layers(model)
    starts: dict[int, Flops] = {}
    found: dict[int, LayerFlops] = {}
    with countable(model), flop_counter() as counter, ExitStack() as hooks:
        clock = FlopClock(counter)

        def begin(index: int, *_: Any) -> None:
            starts[index] = clock.read()

        def finish(index: int, length: int) -> None:
            if index not in found:
                spent = clock.between(starts[index], clock.read())
                linear = (spent.total - spent.attention) / length
                found[index] = LayerFlops(linear, spent.attention / length**2)

        for index, layer in enumerate(layers):
            before = layer.register_forward_pre_hook(lambda *_, i=index: begin(i))
            after = layer.register_forward_hook(
                lambda _, args, output, i=index: finish(i, _length(output))
            )
            hooks.callback(before.remove)
            hooks.callback(after.remove)
        generate(model, inputs, 1)
    return [found[index] for index in range(len(layers))]


def _length(output: Any) -> int:
    """Tokens of a layer's output, `[B, S, E]` or a tuple that begins with it."""
    states = output[0] if isinstance(output, tuple) else output
    return int(states.shape[1])
