"""FasterVLM: keep what the class token of the vision tower attends to."""

from __future__ import annotations

from dataclasses import dataclass

from ivcprune.selectors import Ranked
from ivcprune.tokens import Signal, VisualTokens
from torch import Tensor


@dataclass(frozen=True)
class FasterVLMSelector(Ranked):
    """FasterVLM (Zhang et al. 2024): attention of the class token in the vision tower.

    The tokens that the class token attends to most, heads averaged, in the layer whose output the
    projector takes. It is chosen before the language model runs, and the prompt plays no part. One
    row of attention for each picture; nothing is trained.

    Deviations:
        - Where the tower has no class token (Qwen-VL), all patches ask, on average.
        - The authors' code numbers what is left anew; here that is `positions` of the policy.
    """

    keep: float | int = 0.5

    needs = frozenset({Signal.VISION_ATTENTION_LATE})

    def score(self, tokens: VisualTokens) -> Tensor:
        return tokens.vision_attention("cls", depth="late")
