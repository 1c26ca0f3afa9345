"""What a family is tried on: a random model, and inputs for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel

from ...api import bind
from ...models.base import Family
from ...models.token_rules import TokenRule, token_rules
from ...policy import BoundPolicy, PruningPolicy, Stage
from ...pruning.pruner import Pruner
from ...selectors import Selector
from ...tokens import VisualTokens
from ..inputs import batch, picture, ragged_batch
from .shallow import shallow

Builder = Callable[[PretrainedConfig], PreTrainedModel]


@dataclass(frozen=True, eq=False)
class Look(Selector):
    """Keeps everything, and writes down the tokens that it sees."""

    seen: list[VisualTokens] = field(default_factory=list)

    def select(self, tokens: VisualTokens) -> Tensor:
        self.seen.append(tokens)
        return tokens.valid


@dataclass(frozen=True, eq=False)
class Subject:
    """A family beside a model that it is to fit.

    Attributes:
        model: in float32, in evaluation mode.
        inputs: by what they are, each left-padded.
    """

    family: Family
    model: Any
    inputs: Mapping[str, Mapping[str, Any]]

    @cached_property
    def depth(self) -> int:
        return len(self.family.layers(self.model))

    @cached_property
    def rules(self) -> list[TokenRule]:
        return token_rules(self.model.config.get_text_config(), self.family.token_rules)

    def kind(self, layer: int) -> str:
        """A layer in words: its number and its type."""
        types = getattr(self.model.config.get_text_config(), "layer_types", None)
        return f"layer {layer}" + (f" ({types[layer]})" if types else "")

    def bound(self, policy: PruningPolicy) -> BoundPolicy:
        return bind(policy, self.family, self.model.config)

    def pruner(self, policy: PruningPolicy) -> Pruner:
        return Pruner(self.model, self.family, self.bound(policy))

    def tokens(self, inputs: Mapping[str, Any]) -> VisualTokens:
        """The visual tokens of inputs, as the family finds them.

        Raises:
            ValueError: it finds none.
        """
        look = Look()
        with torch.no_grad(), self.pruner(PruningPolicy({"look": Stage(0, look)})):
            self.model(**inputs)
        if not look.seen:
            raise ValueError("`blocks` finds no visual tokens in inputs with pictures")
        return look.seen[0]

    def visual(self, inputs: Mapping[str, Any]) -> Tensor:
        """The same as a mask of the input, bool `[B, S]`."""
        return places(self.tokens(inputs), inputs, lambda tokens: tokens.valid)


def places(
    tokens: VisualTokens, inputs: Mapping[str, Any], which: Callable[[VisualTokens], Tensor]
) -> Tensor:
    """Some visual tokens as a mask of the input, bool `[B, S]`."""
    mask = torch.zeros_like(inputs["input_ids"], dtype=torch.bool)
    rows, columns = which(tokens).nonzero(as_tuple=True)
    mask[tokens.sample[rows], tokens.index[rows, columns]] = True
    return mask


def subject(family: Family, model: Any, processor: Any, build: Builder) -> Subject:
    """A random model of a shallow copy, or the model that is given; inputs by the processor."""
    if isinstance(model, PretrainedConfig):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = build(shallow(model)).float()
            for parameter in model.parameters():
                if parameter.dim() > 1:
                    # the default of 0.02 leaves attention uniform, which hides mistakes
                    torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
    inputs = {
        # its picture is near the end, within short windows
        "one sample": batch(processor, ("why", [picture(140, 112)])),
        "a ragged batch": ragged_batch(processor),
    }
    return Subject(family, model.eval(), inputs)
