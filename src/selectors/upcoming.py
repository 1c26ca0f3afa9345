"""A prompt-aware ranking before the first layers: similarity of values that are yet to come."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

from torch import Tensor

from ..checks import check_choice, setting
from ..tokens.signals import Signal, TextSpan
from ..tokens.visual import VisualTokens
from .base import Ranked
from .foreground import similarity_received
from .spread import score_or_spread


@dataclass(frozen=True)
class UpcomingSimilaritySelector(Ranked):
    """Stage 1's score (Eq. 9) from value vectors of the layer about to run, so also before layer 0.

    Formula: mean over text tokens of softmax(v_text . v_image^T / sqrt(d)), head mean, where v are
    the values that the coming layer will compute from its input. At layer 0 these are the values
    that `SeedSelector` reads at layer 1: a value vector sees no other token.

    Cost: one value projection of the sequence (0.8 % of the FLOPs of a layer of Qwen2.5-VL-7B),
    then as stage 1. Source: ours; the published code reads the layer that has run. Without any text
    the choice is an even spread.

    Attributes:
        text: which text asks, see `SeedSelector`.
    """

    keep: float | int = 0.5
    _: KW_ONLY
    text: TextSpan = "after_image"

    needs = frozenset({Signal.VALUES_NEXT})

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice(setting(self, "text"), self.text, ("after_image", "all"))

    def score(self, tokens: VisualTokens) -> Tensor:
        values = tokens.next_values()
        text = tokens.text(self.text)
        slots, mask = text.slots[tokens.sample], text.mask[tokens.sample]
        rows = tokens.sample[:, None]
        queries = values[rows, :, slots].transpose(1, 2)
        keys = values[rows, :, tokens.slot].transpose(1, 2)
        received = similarity_received(queries, mask, keys, tokens.valid)
        n_text = mask.sum(dim=1)
        return score_or_spread(tokens, received / n_text.clamp(min=1)[:, None], n_text)
