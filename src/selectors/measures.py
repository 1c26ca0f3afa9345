"""What may tell how many tokens a picture needs for its question: one number for each row."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field

import torch
from torch import Tensor

from ..checks import check_share, setting
from ..tokens.signals import Asking, Signal, TextSpan
from ..tokens.visual import VisualTokens
from .base import Ranked, counts, top
from .contrast import contrast
from .foreground import RefineSelector, SeedSelector
from .upcoming import UpcomingSimilaritySelector


@dataclass(frozen=True)
class Measure(Asking, ABC):
    """How dense what is asked for is: more needs more tokens. Units are the measure's own."""

    @abstractmethod
    def of(self, tokens: VisualTokens) -> Tensor:
        """float32 `[R]`; NaN for a row that nothing can be said of."""


@dataclass(frozen=True)
class ScoreSpread(Measure):
    """Over which share of a row its scores are spread.

    Formula: (sum s)^2 / (n sum s^2), the participation ratio: 1 where all n scores are equal, k / n
    where k are equal and the rest is 0.

    Attributes:
        ranking: whose scores, not negative.
    """

    ranking: Ranked = field(default_factory=RefineSelector)

    def of(self, tokens: VisualTokens) -> Tensor:
        candidates = tokens.eligible & tokens.valid
        score = self.ranking.score(tokens).where(candidates, 0.0)
        n = candidates.sum(dim=1)
        return score.sum(dim=1).square() / (n * score.square().sum(dim=1))


@dataclass(frozen=True)
class QueryEntropy(Measure):
    """How little the words of the question agree on a part of the picture.

    Formula: entropy of softmax(v_word . v_image^T / sqrt(d)) over the n visual tokens, by log n,
    averaged over heads and words: 1 where a word is as similar to every token.

    Attributes:
        text: which words, see `SeedSelector`.
    """

    text: TextSpan = "after_image"

    needs = frozenset({Signal.VALUES})

    def of(self, tokens: VisualTokens) -> Tensor:
        keys = tokens.values().float().transpose(2, 3)
        queries, asking = tokens.text_values(self.text)
        logits = queries.float() @ keys / queries.shape[-1] ** 0.5
        hidden = ~tokens.valid[:, None, None]
        log = logits.masked_fill(hidden, -torch.inf).log_softmax(dim=-1)
        entropy = -(log.exp() * log.masked_fill(hidden, 0.0)).sum(dim=-1).mean(dim=1)
        total = entropy.where(asking, 0.0).sum(dim=1) / asking.sum(dim=1)
        return total / tokens.valid.sum(dim=1).log()


@dataclass(frozen=True)
class EdgeDensity(Measure):
    """How much the picture changes from token to token.

    Formula: mean over the tokens of `contrast`, of value vectors whose heads are joined. In the
    first layer these see no other token, so that they are the picture's own.

    Attributes:
        above: the share of tokens with a contrast above this is taken in its place.
        asked: the mean is weighted by this ranking's scores, not negative: the edges where the
            question looks.
    """

    _: KW_ONLY
    above: float | None = None
    asked: Ranked | None = None

    needs = frozenset({Signal.VALUES})

    def of(self, tokens: VisualTokens) -> Tensor:
        edges = contrast(tokens, tokens.values().transpose(1, 2).flatten(2))
        if self.above is not None:
            edges = (edges > self.above).float()
        weight = torch.ones_like(edges) if self.asked is None else self.asked.score(tokens)
        weight = weight.where(tokens.eligible & tokens.valid, 0.0)
        return (weight * edges).sum(dim=1) / weight.sum(dim=1)


@dataclass(frozen=True)
class LayerAgreement(Measure):
    """How far two layers agree on what the question is about.

    Formula: the share that the best `keep` tokens of one ranking and of the other have in common.

    Attributes:
        keep: share of the row, in (0, 1].
        before, after: rankings of the layer that has run and of the one about to run.
    """

    keep: float = 0.25
    _: KW_ONLY
    before: Ranked = field(default_factory=SeedSelector)
    after: Ranked = field(default_factory=UpcomingSimilaritySelector)

    def __post_init__(self) -> None:
        check_share(setting(self, "keep"), self.keep)

    def of(self, tokens: VisualTokens) -> Tensor:
        candidates = tokens.eligible & tokens.valid
        k = counts(tokens, self.keep, "current", "round", minimum=1)
        one, other = (top(r.score(tokens), candidates, k) for r in (self.before, self.after))
        return (one & other).sum(dim=1) / one.sum(dim=1)


@dataclass(frozen=True)
class WeightedSum(Measure):
    """Several measures as one.

    Attributes:
        parts: by name.
        weights: of each; 1 / (standard deviation) makes measures weigh the same.
    """

    parts: Mapping[str, Measure]
    weights: Mapping[str, float]

    def __post_init__(self) -> None:
        if not self.parts or set(self.parts) != set(self.weights):
            raise ValueError(
                f"WeightedSum.weights are of {sorted(self.weights)}, but parts are "
                f"{sorted(self.parts)}: give each part, at least one, its weight"
            )
        object.__setattr__(self, "parts", dict(self.parts))
        object.__setattr__(self, "weights", dict(self.weights))

    def of(self, tokens: VisualTokens) -> Tensor:
        weighted = [self.weights[name] * part.of(tokens) for name, part in self.parts.items()]
        return torch.stack(weighted).sum(dim=0)
